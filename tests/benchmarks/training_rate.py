"""Training speed as a share of the machine's matrix rate, and memory above the model.

    python tests/benchmarks/training_rate.py [--rows N] [--model NAME] [--cases lora-bfloat16-balanced ...]
    python tests/benchmarks/training_rate.py --trl [--trl-python PYTHON] [--rounds N]

Each case trains on bundled rows, 8 a step, in a process of its own, and prints tokens per second (the median
step after the first), the share of the rate, and the peak of the process's memory above what it held before
training. The rate is that of a product [1024, 2048] x [2048, 2048] in the training's dtype, measured in the
same process. The necessary work is 6 x parameters x tokens, with LoRA 4 x parameters x tokens (frozen weights
need no gradient of their own); the LM head counts on predicted positions only. The bars are a share of 45 %
for lora-bfloat16-balanced, 52 % for full-bfloat16-balanced and 75 % for full-float32-balanced.

`--trl` trains LoRA in bfloat16 on the same rows with TRL's SFTTrainer too (padded batches, loss on the
response, the rest by its defaults), in turn with us, and prints our seconds as a share of its seconds. The
bar is 0.45. `--trl-python` is a Python that has trl and this package's dependencies.
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
    loaded, tokenizer = wb.models.load_model(model, "float32")
    head = loaded.get_output_embeddings().weight.numel()
    body = sum(p.numel() for name, p in loaded.named_parameters() if "embed" not in name)
    weights = sum(p.numel() for p in loaded.parameters())
    del loaded
    with tempfile.TemporaryDirectory() as folder:
        settings = {"batch_size": 8, "max_length": 1024, "device": "cpu", "save_minutes": None}
        run = wb.finetune(ds, model, folder, method=method, dtype=dtype, strategy=strategy, **settings)
        summary = run.wait().summary
        history = run.history
    fastest = max(before, rate(dtype))
    samples = [len(tokenizer(text).input_ids) for text in ds["response"][:]]
    tokens = sum(ds["n_tokens"][:])
    work = (6 if method == "full" else 4) * (body + head * sum(samples) / tokens)  # FLOP a token
    speeds = []
    for earlier, later in itertools.pairwise(history):
        speeds.append((later["tokens"] - earlier["tokens"]) / (later["seconds"] - earlier["seconds"]))
    speed = statistics.median(speeds)
    width = 2 if (method, dtype) == ("lora", "bfloat16") else 4  # bytes of a stored weight
    return {
        "tokens/s": round(speed, 1),
        "share": round(speed * work / fastest, 3),
        "rate, GFLOP/s": round(fastest / 1e9),
        "memory, MiB": round(summary["peak_memory_mib"] - weights * width / 2**20),
        "seconds": summary["seconds"],
        "losses": [round(record["loss"], 5) for record in history],
    }


def measure_trl(model: str, rows: int) -> dict:
    """Seconds of TRL's SFTTrainer, without loading, on the rows of `measure`."""
    import torch
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    import workbench as wb
    from workbench.training.trainable import LORA_TARGETS

    ds = wb.first_look()
    ds = ds.select(range(0, len(ds), len(ds) // rows)).select(range(rows))
    loaded, tokenizer = wb.models.load_model(model, "bfloat16", "cpu")
    turns = [
        {"prompt": [{"role": "user", "content": q}], "completion": [{"role": "assistant", "content": a}]}
        for q, a in zip(ds["instruction"][:], ds["response"][:], strict=True)
    ]
    lora = LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.1, target_modules=list(LORA_TARGETS)
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            folder,
            per_device_train_batch_size=8,
            num_train_epochs=1,
            max_length=1024,
            bf16=True,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            learning_rate=5e-5,
        )
        trainer = SFTTrainer(
            loaded,
            arguments,
            train_dataset=type(ds).from_list(turns),
            processing_class=tokenizer,
            peft_config=lora,
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    losses = [round(float(record["loss"]), 4) for record in trainer.state.log_history if "loss" in record]
    return {"seconds": round(seconds, 1), "losses": losses, "threads": torch.get_num_threads()}


def compare(options: argparse.Namespace) -> None:
    """Train with us and with TRL in turn; print the seconds of each round and the median ratio."""
    ratios = []
    for _ in range(options.rounds):
        ours = in_process([sys.executable], "lora-bfloat16-balanced", options)
        theirs = in_process([options.trl_python or sys.executable], "trl", options)
        ratios.append(ours["seconds"] / theirs["seconds"])
        print(f"ours {ours['seconds']} s, TRL {theirs['seconds']} s, ratio {ratios[-1]:.2f}", flush=True)
        print(f"losses: ours {ours['losses']}, TRL {theirs['losses']}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f}; the bar is at most 0.45")


def in_process(python: list[str], case: str, options: argparse.Namespace) -> dict:
    """The figures of a case, measured in a process of its own."""
    command = [*python, __file__, "--measure", case, "--rows", str(options.rows), "--model", options.model]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=48)
    options.add_argument("--model", default="smollm2-135m")
    options.add_argument("--cases", nargs="+", default=CASES)
    options.add_argument("--trl", action="store_true", help="compare with TRL's SFTTrainer")
    options.add_argument("--trl-python", help="the Python that has trl, by default this one")
    options.add_argument("--rounds", type=int, default=1, help="of the comparison with TRL")
    options.add_argument("--measure", help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.measure:
        request = options.model, options.rows
        is_trl = options.measure == "trl"
        print(json.dumps(measure_trl(*request) if is_trl else measure(options.measure, *request)))
        return
    if options.trl:
        compare(options)
        return
    for case in options.cases:
        figures = in_process([sys.executable], case, options)
        print(f"{case:24}", *(f"{name} {value}" for name, value in figures.items()), sep="  ", flush=True)


if __name__ == "__main__":
    main()
