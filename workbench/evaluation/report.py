"""What an evaluation found."""

import json
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path

import pandas as pd

from ..core.errors import UserError, one_of
from . import passk
from .sandbox.run import PASS


@dataclass(frozen=True)
class EvalReport:
    """`tasks` has a row for each sample, at least with task_id, base and plus (verdicts; plus is null where a
    benchmark has one test suite); `judging.Judged` names the columns of HumanEval and MBPP.

    `suite` is the one that `pass_at_1` speaks of. `missing` names the benchmark's tasks without a sample:
    figures are then over the tasks that were judged. `problems` names the lines of a samples file that could
    not be used, `defects` the tasks where the benchmark errs (task_id -> why), `versions` what the verdicts
    rest on. `loss_per_token` is the held-out loss in nats, null where not measured.
    """

    model: str
    benchmark: str
    tasks: pd.DataFrame
    loss_per_token: float | None = None
    suite: str = "base"
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    defects: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    sanitized: dict[str, int] | None = None

    @property
    def n_passed(self) -> int:
        """Samples that pass."""
        return int(self.passed().sum())

    @property
    def pass_at_1(self) -> float:
        """Share (0 to 1) of the judged tasks that one sample solves; with several samples, their mean."""
        return self.pass_at(1)

    def passed(self, suite: str | None = None, *, compat: bool = False) -> pd.Series:
        """Whether each sample passes `suite`; "plus" asks for both suites, as EvalPlus does. `compat` takes
        EvalPlus's own verdicts, errors of a benchmark included."""
        suite = suite or self.suite
        one_of("suite", suite, ("base", "plus"))
        if suite == "plus" and self.tasks["plus"].isna().any():
            raise UserError(f"suite='plus': {self.benchmark} has one suite of tests; take suite='base'.")
        found = [name for name in ("base", "plus") if name == "base" or suite == "plus"]
        verdicts = [
            self.tasks[f"{name}_compat"]
            if compat and f"{name}_compat" in self.tasks
            else self.tasks[name] == PASS
            for name in found
        ]
        return pd.concat(verdicts, axis=1).all(axis=1)

    def pass_at(self, k: int, suite: str | None = None, *, compat: bool = False) -> float:
        """pass@k, estimated without bias, as the mean over the tasks that were judged."""
        counts = self._counts(suite, compat)
        if not len(counts):
            return 0.0
        if (short := int(counts["n"].min())) < k or k < 1:
            raise UserError(f"k={k}: a task has {short} samples; k must lie between 1 and that.")
        return sum(passk.pass_at_k(n, c, k) for n, c in counts.itertuples(index=False)) / len(counts)

    def _counts(self, suite: str | None, compat: bool) -> pd.DataFrame:
        """For each task, in their order: n samples and how many pass."""
        passed = self.passed(suite, compat=compat)
        # A report put together by hand may lack names for its tasks: then each row is one.
        tasks = self.tasks["task_id"] if "task_id" in self.tasks else pd.Series(range(len(passed)))
        return passed.groupby(tasks.values, sort=False).agg(n="count", passed="sum")

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each suite: pass@1, its 95 % Wilson interval over tasks, and EvalPlus's own figure."""
        suites = ["base"] if self.tasks["plus"].isna().any() else ["base", "plus"]
        rows = []
        for suite in suites:
            n, share = len(self._counts(suite, False)), self.pass_at(1, suite)
            low, high = passk.wilson(share * n, n)
            compat = self.pass_at(1, suite, compat=True)
            rows.append(
                {"suite": suite, "tasks": n, "pass@1": share, "low": low, "high": high, "compat": compat}
            )
        return pd.DataFrame(rows).set_index("suite")

    @property
    def notes(self) -> list[str]:
        """What to know beside the figures: unusable lines, missing tasks, a benchmark's defects, versions."""
        notes = list(self.problems)
        if self.missing:
            some = ", ".join(self.missing[:5]) + (", ..." if len(self.missing) > 5 else "")
            notes.append(f"partial: {len(self.missing)} tasks have no sample ({some})")
        notes += [f"{name}: {why}" for name, why in self.defects.items()]
        if self.sanitized:
            notes.append(
                f"sanitized: {self.sanitized['changed']} changed, {self.sanitized['emptied']} emptied"
            )
        return [*notes, ", ".join(f"{name} {found}" for name, found in self.versions.items())]

    def compare(self, other: "EvalReport", suite: str | None = None) -> "Comparison":
        """This report beside `other`, task by task, on the tasks that both judged."""
        return compare(self, other, suite or self.suite)

    def save(self, path: str | PathLike) -> Path:
        """Write the whole report as JSON; `EvalReport.load` reads it."""
        path = Path(path)
        if not path.resolve().parent.is_dir():
            raise UserError(f"path={str(path)!r}: its folder does not exist; make it first.")
        content = asdict(replace(self, tasks=pd.DataFrame()))
        content["tasks"] = json.loads(self.tasks.to_json(orient="records"))
        content["scores"] = json.loads(self.scores.to_json(orient="index")) if "plus" in self.tasks else None
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: str | PathLike) -> "EvalReport":
        try:
            content = json.loads(Path(path).read_text())
            content.pop("scores", None)
            lists = {name: tuple(content.pop(name)) for name in ("missing", "problems")}
            return cls(tasks=pd.DataFrame(content.pop("tasks")), **lists, **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"path={str(path)!r} cannot be read as a report: {error}.") from error

    def __repr__(self) -> str:
        loss = "" if self.loss_per_token is None else f", loss {self.loss_per_token:.4f} nats/token"
        n = len(self._counts("base", False))
        part = f" (partial: {n} of {n + len(self.missing)} tasks)" if self.missing else ""
        passed = f"{self.n_passed}/{len(self.tasks)}"
        return f"<EvalReport {self.model} on {self.benchmark}: pass@1 {passed}{part}{loss}>"


@dataclass(frozen=True)
class Comparison:
    """Two reports on the same tasks, by their `names`. `both` counts the tasks that both pass, `flipped`
    lists those that only one of them passes; `p_value` is that of the exact McNemar test, two-sided."""

    names: tuple[str, str]
    suite: str
    n_tasks: int
    both: int
    only_first: int
    only_second: int
    p_value: float
    flipped: pd.DataFrame

    def __repr__(self) -> str:
        return (
            f"<Comparison on {self.n_tasks} tasks ({self.suite}): {self.only_first} passed by the first "
            f"alone, {self.only_second} by the second alone, McNemar p = {self.p_value:.3g}>"
        )


def compare(first: EvalReport, second: EvalReport, suite: str = "base") -> Comparison:
    """Pair the verdicts of two reports by task; each must have one sample a task."""
    hashes = [report.versions.get("benchmark sha256") for report in (first, second)]
    if first.benchmark != second.benchmark or (None not in hashes and hashes[0] != hashes[1]):
        raise UserError(
            f"the reports are on {first.benchmark} and {second.benchmark}, or on versions of it with other "
            "tasks; compare reports on the same tasks."
        )
    verdicts = []
    for report in (first, second):
        if report.tasks["task_id"].duplicated().any():
            raise UserError(f"{report.model} has several samples a task; McNemar's test pairs single ones.")
        verdicts.append(pd.Series(report.passed(suite).values, index=report.tasks["task_id"].values))
    both = pd.concat(verdicts, axis=1, keys=["first", "second"], join="inner")
    flipped = both[both["first"] != both["second"]]
    only_first, only_second = int(flipped["first"].sum()), int(flipped["second"].sum())
    return Comparison(
        (first.model, second.model),
        suite,
        len(both),
        int(both.all(axis=1).sum()),
        only_first,
        only_second,
        passk.mcnemar(only_first, only_second),
        flipped.rename_axis("task_id").reset_index(),
    )
