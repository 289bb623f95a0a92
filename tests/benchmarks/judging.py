"""Verdicts on real completions: agreement with recorded verdicts and time, with EvalPlus for comparison.

    python tests/benchmarks/judging.py FOLDER [--peer] [--again] [--load N] [--canonical] [--models NAME ...]

FOLDER holds HumanEvalPlus-v0.1.10.jsonl.gz, MbppPlus-v0.2.0.jsonl.gz and samples/BENCHMARK-MODEL.jsonl.gz
(with task_id, solution, and EvalPlus's verdicts base and plus). Each model has samples of both benchmarks,
542 tasks in all. Caches start empty, so the time of the first model includes the reference answers. `--again`
judges a second time, `--load N` next to N busy processes. Both programs use all cores. "others" are the
core-seconds that other processes used meanwhile: a large number means that the machine was not quiet and the
times are not reliable.
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

from workbench.core.cpus import cpu_count
from workbench.evaluation import EvalReport, benchmarks, evaluate

SUITES = ("base", "plus")
VERDICTS = ["task_id", *SUITES, "base_compat", "plus_compat"]


def timed(work: Callable) -> tuple[float, float, object]:
    """(seconds, core-seconds used by other processes, return value)."""
    before, started = _others(), time.perf_counter()
    value = work()
    return time.perf_counter() - started, _others() - before, value


def _others() -> float:
    machine, own = psutil.cpu_times(), os.times()
    return machine.user + machine.system - (own.user + own.system + own.children_user + own.children_system)


def judged(path: Path) -> EvalReport:
    return evaluate(samples=path, benchmark=path.name.partition("-")[0])


def compatible(report: EvalReport) -> dict[str, tuple[bool, bool]]:
    """task_id -> whether EvalPlus would pass base and plus, by our report."""
    rows = report.tasks[["task_id", "base_compat", "plus_compat"]].itertuples(index=False)
    return {task: verdicts for task, *verdicts in rows}


def peer(path: Path, scratch: Path) -> dict[str, list[bool]]:
    """task_id -> whether EvalPlus's own command passes base and plus."""
    samples = scratch / path.name.removesuffix(".gz")
    samples.write_bytes(gzip.decompress(path.read_bytes()))
    command = [sys.executable, "-m", "evalplus.evaluate", path.name.partition("-")[0]]
    subprocess.run(
        [*command, "--samples", str(samples), "--parallel", str(cpu_count())],
        check=True,
        capture_output=True,
        env=os.environ | {"XDG_CACHE_HOME": str(scratch)},
    )
    tasks = json.loads(samples.with_name(samples.stem + "_eval_results.json").read_text())["eval"]
    return {task: [rows[0][f"{suite}_status"] == "pass" for suite in SUITES] for task, rows in tasks.items()}


def recorded(path: Path) -> dict[str, list[bool]]:
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {row["task_id"]: [row[suite] == "pass" for suite in SUITES] for row in lines}


def differing(verdicts: dict, expected: dict) -> list[str]:
    return [
        f"{task} {suite}"
        for task, passes in expected.items()
        for suite, is_, was in zip(SUITES, verdicts[task], passes, strict=True)
        if is_ != was
    ]


@contextmanager
def busy(n: int):
    """Keep `n` processes busy."""
    processes = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(n)]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def against_recorded(paths: list[Path], scratch: Path | None) -> dict[Path, EvalReport]:
    """Judge every file; print agreement and times, also of EvalPlus if `scratch` is given."""
    reports, sums = {}, dict.fromkeys(("ours", "others", "peer", "peer_others"), 0.0)
    for path in paths:
        seconds, others, reports[path] = timed(lambda path=path: judged(path))
        expected = recorded(path)
        line = f"{path.name:30.30}{len(expected):5}{seconds:8.1f} s (others {others:4.1f})"
        sums["ours"] += seconds
        sums["others"] += others
        peer_differs = ""
        if scratch:
            seconds, others, theirs = timed(lambda path=path: peer(path, scratch))
            line += f"  EvalPlus {seconds:6.1f} s (others {others:4.1f})"
            peer_differs = f"; EvalPlus {differing(theirs, expected) or 'none'}"
            sums["peer"] += seconds
            sums["peer_others"] += others
        differ = differing(compatible(reports[path]), expected)
        print(f"{line}  differ from the recorded: {differ or 'none'}{peer_differs}", flush=True)
    n = sum(len(report.tasks) for report in reports.values())
    print(f"{'all':30}{n:5}{sums['ours']:8.1f} s (others {sums['others']:4.1f})", end="")
    theirs = f"  EvalPlus {sums['peer']:6.1f} s (others {sums['peer_others']:4.1f})"
    print(f"{theirs}  {sums['peer'] / sums['ours']:.2f}x" if scratch else "", flush=True)
    return reports


def judge_again(reports: dict[Path, EvalReport], title: str) -> None:
    """Judge a second time and print which verdicts changed, of all five kinds."""
    n, changed, started = 0, [], time.perf_counter()
    for path, before in reports.items():
        after = judged(path).tasks
        for column in VERDICTS:
            differs = after[column] != before.tasks[column]
            n += len(differs)
            changed += [f"{task} {column}" for task in after["task_id"][differs]]
    seconds = time.perf_counter() - started
    print(f"{title}: {seconds:.1f} s, {n} entries compared, changed: {changed or 'none'}", flush=True)


def canonical(scratch: Path) -> None:
    """Print which reference solutions fail, and the defects of the benchmarks."""
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
    options.add_argument("--load", type=int, default=0, help="judge again next to this many busy processes")
    options.add_argument("--canonical", action="store_true", help="judge the reference solutions")
    options.add_argument("--models", nargs="*", help="judge samples of these models only (no name: none)")
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
                judge_again(reports, "a second run")
            if options.load:
                with busy(options.load):
                    judge_again(reports, f"next to {options.load} busy processes")
            versions = reports[own[0]].versions
        if options.canonical:
            canonical(Path(scratch))
    if options.models != []:
        print(versions)


if __name__ == "__main__":
    main()
