"""Compare the predicted time and memory of fine-tuning with the measured ones.

    python tests/benchmarks/cost.py [--data FILE] [--model NAME] [--rows N] [--rounds N] [--cases A,B,...]

Each round calibrates every method anew and then trains each case for one epoch in a process of its own
(`wb.finetune(..., detached=True)`). The medians over the rounds are printed. The calibration has not seen the
rows, the plan or its batches. Neither figure includes loading and saving.
"""

import argparse
import statistics
import tempfile

import workbench as wb
from workbench.lm import models, prompts

# name: (method, share of the rows, settings)
CASES = {
    "pad": ("full", 1.0, {"strategy": "pad", "batch_size": 8}),
    "dynamic": ("full", 1.0, {"strategy": "dynamic", "batch_size": 8}),
    "balanced": ("lora", 1.0, {"strategy": "balanced", "batch_size": 16}),
    "balanced-40": ("lora", 0.4, {"strategy": "balanced", "batch_size": 4, "accumulation": 2}),
    "flat-40": ("full", 0.4, {"strategy": "flat", "batch_size": 4, "accumulation": 2}),
}
COMMON = {"max_length": 1024, "save_minutes": None}


def lengths(ds, model: str) -> list[int]:
    """Return the tokens of each training sample."""
    tokenizer = models.load_tokenizer(model)
    samples = prompts.training_samples(tokenizer, ds["instruction"][:], ds["response"][:])
    return [len(sample.input_ids) for sample in samples]


def predicted(calibration, ds, model: str, settings: dict) -> tuple[float, float]:
    """Return the predicted seconds and MiB."""
    accumulation = settings.get("accumulation", 1)
    plan = wb.pack(
        lengths(ds, model), COMMON["max_length"], settings["strategy"], batch_size=settings["batch_size"]
    )
    cost = calibration.predict(plan, accumulation=accumulation)
    return cost.seconds, cost.peak_bytes / 2**20


def measured(ds, model: str, method: str, settings: dict, dtype: str) -> tuple[float, float]:
    """Train, and return the seconds and MiB that it took."""
    with tempfile.TemporaryDirectory() as folder:
        run = wb.finetune(
            ds, model, f"{folder}/run", detached=True, method=method, dtype=dtype, **COMMON, **settings
        ).wait()
        return run.summary["seconds"], run.summary["peak_memory_mib"]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--data", default="bundled")
    options.add_argument("--model", default="smollm2-135m")
    options.add_argument("--dtype", default="float32")
    options.add_argument("--rows", type=int, default=32)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--cases", default=",".join(CASES))
    options = options.parse_args()
    ds = wb.load(options.data).shuffle(seed=0).select(range(options.rows))
    cases = {name: CASES[name] for name in options.cases.split(",")}
    figures = {name: [] for name in cases}
    for _ in range(options.rounds):
        calibrations = {}
        for name, (method, share, settings) in cases.items():
            if method not in calibrations:
                calibrations[method] = wb.calibrate(
                    options.model, method=method, dtype=options.dtype, seconds=options.seconds, cache=False
                )
                print(f"{method}: {calibrations[method]}", flush=True)
            rows = ds.select(range(round(share * len(ds))))
            pair = (
                predicted(calibrations[method], rows, options.model, settings),
                measured(rows, options.model, method, settings, options.dtype),
            )
            figures[name].append([*pair[0], *pair[1]])
            print(f"    {name}: {[round(value, 1) for value in figures[name][-1]]}", flush=True)
    print(f"{'':28}{'seconds':>18}{'':8}{'MiB':>18}")
    print(f"{'':28}{'predicted':>10}{'actual':>8}{'ratio':>8}{'predicted':>10}{'actual':>8}{'ratio':>8}")
    for name, runs in figures.items():
        time, size, actual_time, actual_size = (
            statistics.median(values) for values in zip(*runs, strict=True)
        )
        case = f"{name}, {cases[name][0]}, {round(cases[name][1] * options.rows)} rows"
        print(
            f"{case:28}{time:10.1f}{actual_time:8.1f}{time / actual_time:8.2f}"
            f"{size:10,.0f}{actual_size:8,.0f}{size / actual_size:8.2f}"
        )
    print("target: each ratio between 0.75 and 1.25")


if __name__ == "__main__":
    main()
