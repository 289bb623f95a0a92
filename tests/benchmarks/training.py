"""Measure time and memory of training, and compare with the two collators of the paper's authors.

    python tests/benchmarks/training.py [toy-oss toy-evol code stdlib] [--data FILE] [--steps N] [--rounds N]

Workloads:

    toy-oss, toy-evol   a llama of 4 layers and hidden size 256, on lengths like those of OSS-Instruct and
                        Evol-Instruct, 16 samples per step. The vocabulary is 32,000, as in the paper's
                        models; --vocabulary changes the weight of the head relative to the layers
    code                SmolLM2-135M on instruction rows (--data, by default the bundled ones), 8 samples per
                        step
    stdlib              the same on the documented functions of Python's standard library

The authors' `dynamic pad` and `dynamic pack` follow the paper's description: rows padded to the longest, one
attention mask, positions that continue from sample to sample, the model's own attention, and a loss over full
logits. All four variants take the same samples in the same steps, in float32 with AdamW; the authors'
variants recompute nothing.

The variants alternate, each in a process of its own, and medians are printed. Memory is what a step needs on
top of weights, gradients and optimizer state: peak resident memory (VmHWM, reset after a first step) minus
resident memory between two steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

VARIANTS = {
    "authors' pad": ("pad", True),
    "authors' dynamic pack": ("dynamic", True),
    "balanced": ("balanced", False),
    "flat": ("flat", False),
}
TOYS = {"toy-oss": (450, 0.2716), "toy-evol": (500, 0.4975)}
MAX_LENGTH = 2048


def toy(name: str, n: int, vocabulary: int):
    """Return model, samples and batch size: random tokens, the second half of each sample predicted."""
    from transformers import AutoModelForCausalLM, LlamaConfig, set_seed

    from workbench.lm.prompts import Sample

    set_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
    )
    rng, (median, sigma) = np.random.default_rng(0), TOYS[name]
    lengths = np.clip(rng.lognormal(np.log(median), sigma, n * 16), 16, MAX_LENGTH).astype(int)
    samples = [Sample(tuple(rng.integers(0, vocabulary, size).tolist()), int(size) // 2) for size in lengths]
    return AutoModelForCausalLM.from_config(config), samples, 16


def real(name: str, n: int, data: str):
    """Return model, samples and batch size of SmolLM2-135M on real rows."""
    import workbench as wb
    from workbench.lm import prompts

    batch_size = 8
    ds = wb.load(data if name == "code" else "package:stdlib").shuffle(seed=0).select(range(n * batch_size))
    model, tokenizer = wb.models.load_model("smollm2-135m", "float32")
    texts = ds["instruction"][:], ds["response"][:]
    samples = prompts.training_samples(tokenizer, *texts, max_length=MAX_LENGTH)
    return model, samples, batch_size


def resident() -> tuple[float, float]:
    """Return resident memory in MiB: now, and the peak since the last `reset_peak`."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure(name: str, options) -> dict:
    import torch

    from workbench import packing
    from workbench.core import memory
    from workbench.lm import batching
    from workbench.lm.attention import packed_attention
    from workbench.lm.packed import PackedLM
    from workbench.training.trainable import recompute

    strategy, leaky = VARIANTS[options.variant]
    if name in TOYS:
        model, samples, batch_size = toy(name, options.steps, options.vocabulary)
    else:
        model, samples, batch_size = real(name, options.steps, options.data)
    plan = packing.pack([len(s.input_ids) for s in samples], MAX_LENGTH, strategy, batch_size=batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    model.train()
    if not leaky:
        recompute(model)

    def step(rows):
        optimizer.zero_grad()
        if leaky:
            loss = model(**batching.collate_leaking(rows), use_cache=False).loss
        else:
            loss = packed(**batching.collate(rows)).loss
        loss.backward()
        optimizer.step()

    packed = PackedLM(model)
    with nullcontext() if leaky else packed_attention(model):
        step([[batching.Sample(samples[0].input_ids[:16], 1)]])
        memory.release()
        before, _ = resident()
        reset_peak()
        start = time.perf_counter()
        for batch in plan.batches:
            step([[samples[i] for i in row] for row in batch])
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "mib": resident()[1] - before,
        "padding": plan.padding_rate,
        "tokens": plan.n_tokens,
    }


def report(results: dict[str, list[dict]]) -> None:
    medians = {
        variant: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for variant, runs in results.items()
    }
    pad, dynamic = (medians[variant] for variant in list(VARIANTS)[:2])
    print(f"{'':24}{'padding':>9}{'s':>8}{'of pad':>8}{'of pack':>8}{'MiB':>8}{'of pad':>8}{'of pack':>8}")
    for variant, run in medians.items():
        times = [run["seconds"] / peer["seconds"] for peer in (pad, dynamic)]
        sizes = [run["mib"] / peer["mib"] for peer in (pad, dynamic)]
        print(
            f"{variant:24}{run['padding']:9.1%}{run['seconds']:8.2f}{times[0]:8.2f}{times[1]:8.2f}"
            f"{run['mib']:8,.0f}{sizes[0]:8.2f}{sizes[1]:8.2f}"
        )
    time_target = 1.1 * (1 - pad["padding"])
    limits = f"time {time_target:.2f} of pad and 1.00 of pack, memory 0.50 of pad and 0.65 of pack"
    print(f"targets: {limits}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("workloads", nargs="*", default=[*TOYS, "code", "stdlib"])
    options.add_argument("--data", default="bundled")
    options.add_argument("--steps", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--vocabulary", type=int, default=32_000)
    options.add_argument("--variant")  # set for the child processes
    options = options.parse_args()
    if options.variant:
        (name,) = options.workloads
        print(json.dumps(measure(name, options)))
        return
    for name in options.workloads:
        print(f"{name}: {options.steps} steps, {options.rounds} rounds")
        results = {variant: [] for variant in VARIANTS}
        for _ in range(options.rounds):
            for variant, runs in results.items():
                command = [sys.executable, __file__, name, "--variant", variant, "--steps", options.steps]
                command += ["--data", options.data, "--vocabulary", options.vocabulary]
                done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True)
                runs.append(json.loads(done.stdout.splitlines()[-1]))
                print(f"    {variant}: {runs[-1]}", flush=True)
        report(results)


if __name__ == "__main__":
    main()
