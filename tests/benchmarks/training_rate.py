"""Training speed as a share of the machine's matrix rate, and memory above the model.

    python tests/benchmarks/training_rate.py [--rows N] [--model NAME] [--cases lora-bfloat16-balanced ...]

Each case trains on bundled rows, 8 a step, in a process of its own, and prints tokens per second (the median
step after the first), the share of the rate, and the peak of the process's memory above what it held before
training. The rate is that of a product [1024, 2048] x [2048, 2048] in the training's dtype, measured in the
same process. The necessary work is 6 x parameters x tokens, with LoRA 4 x parameters x tokens (frozen weights
need no gradient of their own); the LM head counts on predicted positions only.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time

CASES = [
    f"{method}-{dtype}-{strategy}"
    for method in ("lora", "full")
    for dtype in ("bfloat16", "float32")
    for strategy in ("balanced", "flat")
]


def rate(dtype: str) -> float:
    """FLOP/s of a large matrix product, the best of several."""
    import torch

    a, b = (
        torch.randn(1024, 2048).to(getattr(torch, dtype)),
        torch.randn(2048, 2048).to(getattr(torch, dtype)),
    )
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * 1024 * 2048 * 2048 / min(seconds)


def measure(case: str, model: str, rows: int) -> dict:
    import workbench as wb

    method, dtype, strategy = case.split("-")
    ds = wb.first_look()
    ds = ds.select(range(0, len(ds), len(ds) // rows)).select(range(rows))
    before = rate(dtype)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"batch_size": 8, "max_length": 1024, "device": "cpu", "save_minutes": None}
        run = wb.finetune(ds, model, folder, method=method, dtype=dtype, strategy=strategy, **settings)
        summary = run.wait().summary
        history = run.history
    fastest = max(before, rate(dtype))
    loaded, tokenizer = wb.models.load_model(model, "float32")
    head = loaded.get_output_embeddings().weight.numel()
    body = sum(p.numel() for name, p in loaded.named_parameters() if "embed" not in name)
    samples = [len(tokenizer(text).input_ids) for text in ds["response"][:]]
    tokens = sum(ds["n_tokens"][:])
    work = (6 if method == "full" else 4) * (body + head * sum(samples) / tokens)  # FLOP a token
    speeds = []
    for earlier, later in itertools.pairwise(history):
        speeds.append((later["tokens"] - earlier["tokens"]) / (later["seconds"] - earlier["seconds"]))
    speed = statistics.median(speeds)
    return {
        "tokens/s": round(speed, 1),
        "share": round(speed * work / fastest, 3),
        "rate, GFLOP/s": round(fastest / 1e9),
        "memory, MiB": summary["peak_memory_mib"] - summary["memory_before_mib"],
        "losses": [round(record["loss"], 5) for record in history],
    }


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=48)
    options.add_argument("--model", default="smollm2-135m")
    options.add_argument("--cases", nargs="+", default=CASES)
    options.add_argument("--measure", help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.model, options.rows)))
        return
    for case in options.cases:
        command = [sys.executable, __file__, "--measure", case, "--rows", str(options.rows)]
        done = subprocess.run([*command, "--model", options.model], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{case:24}", *(f"{name} {value}" for name, value in found.items()), sep="  ", flush=True)


if __name__ == "__main__":
    main()
