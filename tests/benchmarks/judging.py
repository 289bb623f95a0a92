"""Verdicts on real completions: agreement with the recorded ones, and time, with EvalPlus beside it in a run.

    python tests/benchmarks/judging.py FOLDER [--peer] [--again] [--load N] [--canonical] [--models NAME ...]

FOLDER holds HumanEvalPlus-v0.1.10.jsonl.gz, MbppPlus-v0.2.0.jsonl.gz and samples/*.jsonl.gz (task_id,
solution, and EvalPlus's verdicts base and plus), named BENCHMARK-MODEL. Each model's samples of both
benchmarks are judged: 542 tasks. The caches of both judges are new and empty, so the first model also pays
for the reference answers; `again` and `load` judge once more, the latter with so many busy processes beside.
Both judges use all cores; "others" is what everyone else on the machine took of them (core-seconds), so that
a run that was not quiet shows itself.
"""

import argparse
import gzip
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import psutil

from workbench.evaluation import EvalReport, benchmarks, evaluate

SUITES = ("base", "plus")
VERDICTS = ["task_id", *SUITES, "base_compat", "plus_compat"]


def timed(work: Callable) -> tuple[float, float, object]:
    """(seconds, core-seconds that processes other than ours took, result)."""
    before, started = _others(), time.perf_counter()
    result = work()
    return time.perf_counter() - started, _others() - before, result


def _others() -> float:
    machine, own = psutil.cpu_times(), os.times()
    return machine.user + machine.system - (own.user + own.system + own.children_user + own.children_system)


def judged(path: Path) -> EvalReport:
    return evaluate(samples=path, benchmark=path.name.partition("-")[0])


def compatible(report: EvalReport) -> dict[str, tuple[bool, bool]]:
    """task_id -> whether EvalPlus would pass base and plus."""
    rows = report.tasks[["task_id", "base_compat", "plus_compat"]].itertuples(index=False)
    return {task: verdicts for task, *verdicts in rows}


def peer(path: Path, scratch: Path) -> dict[str, list[bool]]:
    """The same from EvalPlus's own command."""
    samples = scratch / path.name.removesuffix(".gz")
    samples.write_bytes(gzip.decompress(path.read_bytes()))
    command = [sys.executable, "-m", "evalplus.evaluate", path.name.partition("-")[0]]
    subprocess.run(
        [*command, "--samples", str(samples), "--parallel", str(os.cpu_count())],
        check=True,
        capture_output=True,
        env=os.environ | {"XDG_CACHE_HOME": str(scratch)},
    )
    found = json.loads(samples.with_name(samples.stem + "_eval_results.json").read_text())["eval"]
    return {task: [rows[0][f"{suite}_status"] == "pass" for suite in SUITES] for task, rows in found.items()}


def recorded(path: Path) -> dict[str, list[bool]]:
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {row["task_id"]: [row[suite] == "pass" for suite in SUITES] for row in lines}


def differing(found: dict, wanted: dict) -> list[str]:
    return [
        f"{task} {suite}"
        for task, verdicts in wanted.items()
        for suite, is_, was in zip(SUITES, found[task], verdicts, strict=True)
        if is_ != was
    ]


@contextmanager
def busy(n: int):
    """`n` processes that do nothing but compute."""
    beside = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(n)]
    for process in beside:
        process.start()
    yield
    for process in beside:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def against_recorded(paths: list[Path], scratch: Path | None) -> dict[Path, EvalReport]:
    """Judge every file, print how that agrees and what it took; EvalPlus too where `scratch` is given."""
    reports, sums = {}, dict.fromkeys(("ours", "others", "peer", "beside"), 0.0)
    for path in paths:
        seconds, others, reports[path] = timed(lambda path=path: judged(path))
        wanted = recorded(path)
        line = f"{path.name:30.30}{len(wanted):5}{seconds:8.1f} s (others {others:4.1f})"
        sums["ours"] += seconds
        sums["others"] += others
        also = ""
        if scratch:
            seconds, others, theirs = timed(lambda path=path: peer(path, scratch))
            line += f"  EvalPlus {seconds:6.1f} s (others {others:4.1f})"
            also = f"; EvalPlus {differing(theirs, wanted) or 'none'}"
            sums["peer"] += seconds
            sums["beside"] += others
        differ = differing(compatible(reports[path]), wanted)
        print(f"{line}  differ from the recorded: {differ or 'none'}{also}", flush=True)
    n = sum(len(report.tasks) for report in reports.values())
    print(f"{'all':30}{n:5}{sums['ours']:8.1f} s (others {sums['others']:4.1f})", end="")
    ratio = (
        f"  EvalPlus {sums['peer']:6.1f} s (others {sums['beside']:4.1f})  {sums['peer'] / sums['ours']:.2f}x"
    )
    print(ratio if scratch else "", flush=True)
    return reports


def once_more(reports: dict[Path, EvalReport], how: str) -> None:
    """Judge again and print which verdicts changed, of all five kinds."""
    n, changed, started = 0, [], time.perf_counter()
    for path, before in reports.items():
        after = judged(path).tasks
        for column in VERDICTS:
            moved = after[column] != before.tasks[column]
            n += len(moved)
            changed += [f"{task} {column}" for task in after["task_id"][moved]]
    seconds = time.perf_counter() - started
    print(f"{how}: {seconds:.1f} s, {n} entries compared, changed: {changed or 'none'}", flush=True)


def canonical(scratch: Path) -> None:
    """Print which reference solutions do not pass, and the benchmarks' defects."""
    for name in ("humaneval", "mbpp"):
        path = scratch / f"{name}-canonical.jsonl"
        tasks = benchmarks.load(name).tasks.values()
        lines = [{"task_id": t["task_id"], "solution": t["prompt"] + t["canonical_solution"]} for t in tasks]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        report = judged(path)
        failing = report.tasks[~report.passed("plus")]["task_id"].tolist()
        print(f"reference solutions of {name}: {len(lines)} tasks, not passing: {failing or 'none'}")
        for task, why in report.defects.items():
            print(f"    {task}: {why}")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--peer", action="store_true", help="also run EvalPlus")
    options.add_argument("--again", action="store_true", help="judge a second time")
    options.add_argument("--load", type=int, default=0, help="judge once more beside so many busy processes")
    options.add_argument("--canonical", action="store_true", help="judge the reference solutions")
    options.add_argument("--models", nargs="*", help="the samples of these models only; none: no samples")
    options = options.parse_args()
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = str(options.folder / "HumanEvalPlus-v0.1.10.jsonl.gz")
    os.environ["MBPP_OVERRIDE_PATH"] = str(options.folder / "MbppPlus-v0.2.0.jsonl.gz")
    paths = sorted((options.folder / "samples").glob("*.jsonl.gz"), key=lambda p: p.name.partition("-")[::-1])
    models = dict.fromkeys(path.name.partition("-")[2].removesuffix(".jsonl.gz") for path in paths)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["WORKBENCH_CACHE"] = f"{scratch}/workbench"
        for model in models if options.models is None else options.models:
            own = [path for path in paths if path.name.endswith(f"-{model}.jsonl.gz")]
            reports = against_recorded(own, Path(scratch) if options.peer else None)
            if options.again:
                once_more(reports, "a second run")
            if options.load:
                with busy(options.load):
                    once_more(reports, f"{options.load} busy processes beside")
            versions = reports[own[0]].versions
        if options.canonical:
            canonical(Path(scratch))
    if options.models != []:
        print(versions)


if __name__ == "__main__":
    main()
