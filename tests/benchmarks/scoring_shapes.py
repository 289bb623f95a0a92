"""Scoring speed of models with random weights, on lengths like those of OSS-Instruct.

    python tests/benchmarks/scoring_shapes.py [--shape smollm2-135m] [--rows 2000] [--device cuda]
    python tests/benchmarks/scoring_shapes.py --shape deepseek-coder-6.7b --rows 500

Compares packed scoring with padded batches of 16 and with one sequence at a time, in bfloat16 and in one run;
the slower two run on fewer rows. Prints rows and tokens per second, the fraction of the rate of a large
matrix product, and ratios.
"""

import argparse
import statistics

import numpy as np
import torch
from scoring import necessary, rate, seconds
from transformers import AutoModelForCausalLM, LlamaConfig

from workbench.complexity.engine import TOKEN_BUDGET, Engine
from workbench.complexity.pairs import Pair
from workbench.core import memory
from workbench.lm import models
from workbench.lm.nll import padded_nll
from workbench.lm.prompts import Sample

SHAPES = {
    "smollm2-135m": LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    "deepseek-coder-6.7b": LlamaConfig(
        vocab_size=32256,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=16384,
    ),
}
ROUNDS, SIDE = 3, 8192


def rows(n: int, vocabulary: int) -> list[Pair]:
    """Rows of clipped lognormal length (median 450, sigma 0.2716) whose first third is the prompt."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(450), 0.2716, n), 16, 2048).astype(int)
    pairs = []
    for length in lengths:
        ids = tuple(rng.integers(5, vocabulary, length).tolist())
        start = length // 3
        pairs.append(Pair(Sample(ids[start:], 1), Sample(ids, start), False))
    return pairs


@torch.inference_mode()
def padded(model, pairs: list[Pair], size: int) -> None:
    """Run `size` rows at a time, padded, in their order, with the model's own forward pass."""
    for start in range(0, len(pairs), size):
        batch = pairs[start : start + size]
        for samples in ([pair.alone for pair in batch], [pair.conditioned for pair in batch]):
            padded_nll(model, samples)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--device", default=models.pick_device())
    options = options.parse_args()
    device = options.device
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(SHAPES[options.shape], dtype=torch.bfloat16).eval()
    pairs = rows(options.rows, model.config.vocab_size)
    subset = pairs[: max(32, len(pairs) // 10)]
    variants = {
        "ours": (pairs, lambda: list(Engine(model, TOKEN_BUDGET[device.split(":")[0]])(pairs))),
        "padded, 16": (subset, lambda: padded(model, subset, 16)),
        "one by one": (subset, lambda: padded(model, subset, 1)),
    }
    durations: dict[str, list[float]] = {name: [] for name in variants}
    with memory.reuse_freed_memory():
        for _ in range(ROUNDS + 1):  # the first warms up
            speed = rate(torch.bfloat16, device, SIDE)
            for name, (_, work) in variants.items():
                durations[name].append(seconds(work, device))
    print(f"{options.shape} on {device}, bfloat16, matrix rate {speed / 1e12:.1f} TFLOP/s")
    speeds = {}
    for name, (scored, _) in variants.items():
        took = statistics.median(durations[name][1:])
        samples = [s for pair in scored for s in (pair.alone, pair.conditioned)]
        tokens = sum(len(s.input_ids) for s in samples)
        work = necessary(model, samples)
        speeds[name] = len(scored) / took
        print(
            f"{name:12}{speeds[name]:9.2f} rows/s{tokens / took:11,.0f} tokens/s"
            f"{work / took / speed:7.0%} of rate"
            f"   ours x{speeds['ours'] / speeds[name]:.1f}"
        )


if __name__ == "__main__":
    main()
