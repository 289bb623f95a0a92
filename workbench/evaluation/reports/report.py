"""The result of an evaluation, and the comparison of two."""

import json
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path

import pandas as pd

from ...core.errors import UserError, one_of
from .. import statistics
from ..sandbox.run import PASS
from . import measures


@dataclass(frozen=True, eq=False)
class EvalReport:
    """The result of `wb.evaluate`: a verdict for each sample, and the statistics of them.

    Attributes:
        model: name or folder of the model, or the name of the samples file.
        benchmark: e.g. "HumanEval+", "bundled".
        tasks: a pandas table with one row per sample and at least the columns `task_id`, `base` and `plus`.
            The last two are verdicts: "pass", "fail", "timeout", "error" or "blocked"; `plus` is None if the
            benchmark has a single test suite. HumanEval and MBPP also have, for each suite, whether EvalPlus
            would pass the sample (`base_compat`), the reason (`base_detail`) and the first input that fails
            (`base_input`), and the columns `sample` (number within the task), `prompt` and `solution`. Other
            benchmarks have `detail` and `completion`. `base` and `plus` are None if "pass" was not measured.
            Measured by name (`wb.evaluate(measures=...)`), there are also `loss` (nats per token) and
            `n_tokens`, and `preference` (0 to 1), `margin` (nats) and `n_twins` of each task.
        loss_per_token: held-out loss in nats per token, or None if not measured.
        suite: the suite that `pass_at_1` reports, "base" or "plus".
        missing: ids of the benchmark's tasks without a sample. Statistics cover the judged tasks only.
        problems: one sentence per line of the samples file or row that could not be used, and on why answers
            were not judged.
        defects: task_id -> explanation, for tasks on which the benchmark itself is wrong.
        versions: name -> version of what the verdicts depend on (benchmark, EvalPlus, Python, sandbox level,
            decoding, ...).
        sanitized: how many samples EvalPlus's sanitizer changed and emptied, or None if it did not run.
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
    def preference(self) -> float | None:
        """Share (0 to 1) of the broken twins that the model finds less likely than the reference they were
        made from; None if not measured. See `wb.evaluate` for what it does not measure."""
        value = measures.estimate(self.tasks, "preference")
        return None if value is None else value.value

    @property
    def margin(self) -> float | None:
        """By how many nats, summed over the response, a twin is less likely than its reference: the mean over
        all twins. None if not measured."""
        value = measures.estimate(self.tasks, "margin")
        return None if value is None else value.value

    @property
    def has_pass(self) -> bool:
        """Whether answers were generated and judged."""
        return bool(self.tasks["base"].notna().all())

    @property
    def measures(self) -> pd.DataFrame:
        """A table with one row for each of loss, preference, margin and pass@1 that was measured.

        `value`, its 95 % interval over tasks (`low`, `high`; bootstrap, Wilson for pass@1), the number of
        `tasks`, and `detectable`: the true difference to another model that this number of tasks can show,
        with probability 0.8 at the 5 % level, if that model is measured on other tasks. On the same tasks,
        `compare` shows smaller ones. The intervals cover the choice of tasks, not that of training seeds.
        """
        rows = {name: measures.estimate(self.tasks, name) for name in measures.COLUMNS}
        table = {
            name: [row.value, row.low, row.high, row.n, row.detectable] for name, row in rows.items() if row
        }
        if self.has_pass and len(self.tasks):
            scores = self.scores.loc[self.suite]
            n = int(scores["tasks"])
            table["pass@1"] = [*scores[["pass@1", "low", "high"]], n, measures.detectable_pass(n)]
        columns = ["value", "low", "high", "tasks", "detectable"]
        table = pd.DataFrame.from_dict(table, orient="index", columns=columns).rename_axis("measure")
        return table.astype({"tasks": int})

    @property
    def n_passed(self) -> int:
        """Number of samples that pass `suite`."""
        return int(self.passed().sum())

    @property
    def pass_at_1(self) -> float:
        """Share (0 to 1) of the judged tasks that one sample solves; with several samples per task, their
        mean."""
        return self.pass_at(1)

    def passed(self, suite: str | None = None, *, compat: bool = False) -> pd.Series:
        """Whether each sample passes `suite` (bool, one per row of `tasks`).

        `suite` is "base" or "plus", by default the report's own; "plus" requires both suites, as in EvalPlus.
        With `compat`, these are the verdicts that EvalPlus itself would give, including its errors
        (`defects`). Raises UserError if the benchmark has no such suite.
        """
        if not self.has_pass:
            raise UserError(f"{self.model}: pass was not measured; evaluate with measures=('pass', ...).")
        suite = suite or self.suite
        one_of("suite", suite, ("base", "plus"))
        if suite == "plus" and self.tasks["plus"].isna().any():
            raise UserError(f"suite='plus': {self.benchmark} has one suite of tests; take suite='base'.")
        suites = ["base", "plus"] if suite == "plus" else ["base"]
        verdicts = [
            self.tasks[f"{name}_compat"]
            if compat and f"{name}_compat" in self.tasks
            else self.tasks[name] == PASS
            for name in suites
        ]
        return pd.concat(verdicts, axis=1).all(axis=1)

    def pass_at(self, k: int, suite: str | None = None, *, compat: bool = False) -> float:
        """pass@k (0 to 1): the unbiased estimate of arXiv 2107.03374, equation 1, averaged over the judged
        tasks.

        `suite` and `compat` are as in `passed`. Raises UserError if a task has fewer than `k` samples.
        """
        counts = self._counts(suite, compat)
        if not len(counts):
            return 0.0
        if (short := int(counts["n"].min())) < k or k < 1:
            raise UserError(f"k={k}: a task has {short} samples; k must lie between 1 and that.")
        return sum(statistics.pass_at_k(n, c, k) for n, c in counts.itertuples(index=False)) / len(counts)

    def _counts(self, suite: str | None, compat: bool) -> pd.DataFrame:
        """For each task, in order: the number of samples (n) and how many pass (passed)."""
        passed = self.passed(suite, compat=compat)
        # A report built by hand may lack task ids. Each row is a task then.
        tasks = self.tasks["task_id"] if "task_id" in self.tasks else pd.Series(range(len(passed)))
        return passed.groupby(tasks.values, sort=False).agg(n="count", passed="sum")

    @property
    def scores(self) -> pd.DataFrame:
        """A table with one row per suite: `tasks`, `pass@1` (0 to 1), its 95 % Wilson interval over tasks
        (`low`, `high`), and the pass@1 that EvalPlus itself would report (`compat`)."""
        suites = ["base"] if self.tasks["plus"].isna().any() else ["base", "plus"]
        rows = []
        if not self.has_pass:
            return pd.DataFrame(columns=["tasks", "pass@1", "low", "high", "compat"]).rename_axis("suite")
        for suite in suites:
            n, share = len(self._counts(suite, False)), self.pass_at(1, suite)
            low, high = statistics.wilson(share * n, n)
            compat = self.pass_at(1, suite, compat=True)
            rows.append(
                {"suite": suite, "tasks": n, "pass@1": share, "low": low, "high": high, "compat": compat}
            )
        return pd.DataFrame(rows).set_index("suite")

    @property
    def notes(self) -> list[str]:
        """Sentences that qualify the scores: unusable lines, missing tasks, defects of the benchmark,
        versions."""
        notes = list(self.problems)
        if self.missing:
            first = ", ".join(self.missing[:5]) + (", ..." if len(self.missing) > 5 else "")
            notes.append(f"partial: {len(self.missing)} tasks have no sample ({first})")
        notes += [f"{name}: {why}" for name, why in self.defects.items()]
        if self.sanitized:
            notes.append(
                f"sanitized: {self.sanitized['changed']} changed, {self.sanitized['emptied']} emptied"
            )
        return [*notes, ", ".join(f"{name} {version}" for name, version in self.versions.items())]

    def compare(self, other: "EvalReport", suite: str | None = None) -> "Comparison":
        """Compare with `other` task by task; see `compare`. `suite` defaults to the report's own."""
        return compare(self, other, suite or self.suite)

    def save(self, path: str | PathLike) -> Path:
        """Write the whole report to `path` as JSON, for `EvalReport.load`. Returns the path.

        Raises UserError if the folder does not exist.
        """
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
        """Read a report that `save` wrote. Raises UserError if the file is missing or not a report."""
        try:
            content = json.loads(Path(path).read_text())
            content.pop("scores", None)
            lists = {name: tuple(content.pop(name)) for name in ("missing", "problems")}
            return cls(tasks=pd.DataFrame(content.pop("tasks")), **lists, **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"path={str(path)!r} cannot be read as a report: {error}.") from error

    def __repr__(self) -> str:
        loss = "" if self.loss_per_token is None else f", loss {self.loss_per_token:.4f} nats/token"
        n = self.tasks["task_id"].nunique() if "task_id" in self.tasks else len(self.tasks)
        part = f" (partial: {n} of {n + len(self.missing)} tasks)" if self.missing else ""
        passed = f"pass@1 {self.n_passed}/{len(self.tasks)}" if self.has_pass else f"{n} tasks"
        twins = ""
        if (preference := self.preference) is not None:
            twins = f", preference {preference:.1%}, margin {self.margin:.2f} nats"
        return f"<EvalReport {self.model} on {self.benchmark}: {passed}{part}{loss}{twins}>"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two reports on the same tasks, paired by task.

    Attributes:
        names: the models of the two reports.
        measures: a pandas table with a row for each measure that both reports have by task (loss, preference,
            margin, pass@1): `first`, `second`, `difference` (second minus first), its 95 % interval (`low`,
            `high`; bootstrap over tasks), `p_value` (two-sided; permutation test, McNemar for pass@1),
            `tasks`, and `detectable`, the true difference that these tasks can show with probability 0.8 at
            the 5 % level. Several p-values need a correction (`evaluation.statistics.holm`).
        suite: the suite that is compared, "base" or "plus".
        n_tasks: number of tasks that both reports judged.
        both: number of tasks that both pass.
        only_first, only_second: number of tasks that only one of them passes.
        p_value: of the exact two-sided McNemar test (`mcnemar`); 1 if pass was not measured.
        flipped: a pandas table of the tasks that only one passes: `task_id`, `first`, `second` (bool).
    """

    names: tuple[str, str]
    suite: str
    n_tasks: int
    both: int
    only_first: int
    only_second: int
    p_value: float
    flipped: pd.DataFrame
    measures: pd.DataFrame

    def __repr__(self) -> str:
        if "pass@1" not in self.measures.index:
            rows = self.measures.itertuples()
            texts = [f"{row.Index} {row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]" for row in rows]
            return f"<Comparison on {self.n_tasks} tasks, second minus first: {', '.join(texts)}>"
        return (
            f"<Comparison on {self.n_tasks} tasks ({self.suite}): {self.only_first} passed by the first "
            f"alone, {self.only_second} by the second alone, McNemar p = {self.p_value:.3g}>"
        )


def compare(first: EvalReport, second: EvalReport, suite: str = "base") -> Comparison:
    """Compare two reports task by task, on the tasks that both have and in every measure that both have.

    pass@1 is compared with the exact McNemar test on `suite`, "base" or "plus". Raises UserError if the
    reports are on different benchmarks, on versions with different tasks, have no measure in common, or have
    several samples per task. A small p-value says that the two models differ on such tasks, not that a
    training method is better: that takes several seeds.
    """
    hashes = [report.versions.get("benchmark sha256") for report in (first, second)]
    if first.benchmark != second.benchmark or (None not in hashes and hashes[0] != hashes[1]):
        raise UserError(
            f"the reports are on {first.benchmark} and {second.benchmark}, or on versions of it with other "
            "tasks; compare reports on the same tasks."
        )
    rows = _differences(first, second)
    if not (first.has_pass and second.has_pass):
        if rows.empty:
            raise UserError(
                f"{first.model} and {second.model} have no measure by task in common; evaluate both with the "
                "same measures=(...)."
            )
        flipped = pd.DataFrame(columns=["task_id", "first", "second"])
        n = int(rows["tasks"].max())
        return Comparison((first.model, second.model), suite, n, 0, 0, 0, 1.0, flipped, rows)
    verdicts = []
    for report in (first, second):
        if report.tasks["task_id"].duplicated().any():
            raise UserError(f"{report.model} has several samples per task; McNemar's test pairs single ones.")
        verdicts.append(pd.Series(report.passed(suite).values, index=report.tasks["task_id"].values))
    both = pd.concat(verdicts, axis=1, keys=["first", "second"], join="inner")
    flipped = both[both["first"] != both["second"]]
    only_first, only_second = int(flipped["first"].sum()), int(flipped["second"].sum())
    p_value = statistics.mcnemar(only_first, only_second)
    if len(both):
        rows.loc["pass@1"] = _pass_difference(both, p_value)
    return Comparison(
        (first.model, second.model),
        suite,
        len(both),
        int(both.all(axis=1).sum()),
        only_first,
        only_second,
        p_value,
        flipped.rename_axis("task_id").reset_index(),
        rows.astype({"tasks": int}),
    )


def _differences(first: EvalReport, second: EvalReport) -> pd.DataFrame:
    """`Comparison.measures` without pass@1."""
    rows = {}
    for name in measures.COLUMNS:
        if (paired := measures.difference(first.tasks, second.tasks, name)) is not None:
            values = [measures.estimate(report.tasks, name).value for report in (first, second)]
            interval = [paired.value, paired.low, paired.high, paired.p_value]
            rows[name] = [*values, *interval, paired.n, paired.detectable]
    columns = ["first", "second", "difference", "low", "high", "p_value", "tasks", "detectable"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("measure")
    return table.astype({"tasks": int})


def _pass_difference(both: pd.DataFrame, p_value: float) -> list[float]:
    """The row pass@1 of `Comparison.measures`; `both` has a column of bools for each report."""
    first, second = both["first"].astype(float), both["second"].astype(float)
    paired = statistics.paired_difference(first, second)
    detectable = measures.detectable_pass(len(both), int((first != second).sum()))
    interval = [paired.value, paired.low, paired.high, p_value]
    return [first.mean(), second.mean(), *interval, len(both), detectable]
