"""Verdicts on real completions: agreement with the recorded ones, and time, with EvalPlus beside it in a run.

    python tests/benchmarks/judging.py FOLDER [--peer]

FOLDER holds HumanEvalPlus-v0.1.10.jsonl.gz, MbppPlus-v0.2.0.jsonl.gz and samples/*.jsonl.gz (task_id,
solution, and EvalPlus's verdicts base and plus). The caches of both are new and empty, so the first file
of each benchmark also pays for the reference answers. Both use all cores.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def judged(path: Path, name: str) -> tuple[float, dict, object]:
    from workbench.evaluation import evaluate

    started = time.perf_counter()
    report = evaluate(samples=path, benchmark=name)
    seconds = time.perf_counter() - started
    rows = report.tasks.to_dict("records")
    return seconds, {row["task_id"]: (row["base_compat"], row["plus_compat"]) for row in rows}, report


def peer(path: Path, name: str, scratch: Path) -> tuple[float, dict]:
    """EvalPlus's own command."""
    samples = scratch / path.name.removesuffix(".gz")
    samples.write_bytes(gzip.decompress(path.read_bytes()))
    command = [sys.executable, "-m", "evalplus.evaluate", name, "--samples", str(samples)]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--parallel", str(os.cpu_count())],
        check=True,
        capture_output=True,
        env=os.environ | {"XDG_CACHE_HOME": str(scratch)},
    )
    seconds = time.perf_counter() - started
    found = json.loads(samples.with_name(samples.stem + "_eval_results.json").read_text())["eval"]
    return seconds, {
        task: (rows[0]["base_status"] == "pass", rows[0]["plus_status"] == "pass")
        for task, rows in found.items()
    }


def differing(found: dict, recorded: dict) -> list[str]:
    return [
        f"{task} {suite}"
        for task, verdicts in recorded.items()
        for suite, is_, was in zip(("base", "plus"), found[task], verdicts, strict=True)
        if is_ != was
    ]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--peer", action="store_true", help="also run EvalPlus")
    options = options.parse_args()
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = str(options.folder / "HumanEvalPlus-v0.1.10.jsonl.gz")
    os.environ["MBPP_OVERRIDE_PATH"] = str(options.folder / "MbppPlus-v0.2.0.jsonl.gz")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["WORKBENCH_CACHE"] = f"{scratch}/workbench"
        print(f"{'file':28}{'tasks':>6}{'seconds':>9}{'evalplus':>10}{'ratio':>7}  differ from the recorded")
        for path in sorted((options.folder / "samples").glob("*.jsonl.gz")):
            name = path.name.partition("-")[0]
            lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
            recorded = {row["task_id"]: (row["base"] == "pass", row["plus"] == "pass") for row in lines}
            seconds, found, report = judged(path, name)
            theirs = peer(path, name, Path(scratch)) if options.peer else None
            beside = f"{theirs[0]:10.1f}{theirs[0] / seconds:7.2f}" if theirs else f"{'':17}"
            also = f"; evalplus: {differing(theirs[1], recorded)}" if theirs else ""
            differ = differing(found, recorded)
            print(f"{path.name:28.28}{len(lines):6}{seconds:9.1f}{beside}  {differ}{also}", flush=True)
            for task, why in report.defects.items():
                print(f"{'':4}{task}: {why}")
        print(report.versions)


if __name__ == "__main__":
    main()
