"""Scoring speed, relative to the machine's matrix products and to the authors' script.

    python tests/benchmarks/scoring.py [--data FILE] [--rows N] [--authors calculate_ifd.py] [--device cuda]

The necessary work of a row is 2 x parameters x tokens, with the LM head on scored positions only. The
machine's rate is that of a large matrix product, measured before each run. Runs alternate; the medians are
printed.
`--authors` is the path of `data_selection/calculate_ifd.py` from the paper's repository. Without it the peer
scores one row at a time, with two float32 passes and full logits.
"""

import argparse
import importlib.util
import statistics
import time

import torch
from scipy.stats import spearmanr

import workbench as wb
from workbench.complexity import engine, pairs
from workbench.core import memory
from workbench.lm.prompts import Sample

MODEL = "smollm2-135m-q4_1"
SIDE = 4096


def rate(dtype: torch.dtype, device: str, side: int = SIDE) -> float:
    """FLOP/s of a large matrix product."""
    a = torch.randn(side, side, dtype=torch.float32).to(device, dtype)
    return 2 * side**3 / seconds(lambda: a @ a, device)


def necessary(model, samples: list[Sample]) -> int:
    """FLOP of one pass: 2 x parameters x tokens, with the LM head on scored positions only."""
    head = model.get_output_embeddings().weight.numel()
    body = sum(
        p.numel() for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name
    )
    tokens = sum(len(sample.input_ids) for sample in samples)
    return 2 * (body * tokens + head * sum(sample.n_targets for sample in samples))


def seconds(work, device: str) -> float:
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peer(path: str | None):
    """A function of (tokenizer, model, question, answer, max_length) that scores one row."""
    if path:
        spec = importlib.util.spec_from_file_location("authors", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.calculate_ifd

    def plain(tokenizer, model, question, answer, max_length):
        (pair,) = pairs.pairs(tokenizer, [question], [answer], max_length)
        with torch.inference_mode():
            for sample in (pair.alone, pair.conditioned):
                ids = torch.tensor([sample.input_ids], device=model.device)
                model(input_ids=ids, labels=ids)

    return plain


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--data", default="bundled")
    options.add_argument("--rows", type=int, default=32)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--authors")
    options.add_argument("--device", default=wb.models.pick_device())
    options = options.parse_args()
    ds = wb.load(options.data)
    rows = ds.shuffle(seed=0).select(range(min(options.rows, len(ds))))
    questions, answers = rows["instruction"][:], rows["response"][:]
    one_row = peer(options.authors)
    dtypes = {name: getattr(torch, name) for name in ("float32", "bfloat16")}
    loaded = {name: wb.models.load_model(MODEL, name, options.device) for name in dtypes}
    plain, tokenizer = loaded["float32"]
    limit = wb.models.context_length(MODEL)
    row_pairs = pairs.pairs(tokenizer, questions, answers, limit)
    samples = [s for pair in row_pairs if pair.scorable for s in (pair.alone, pair.conditioned)]
    tokens = sum(len(sample.input_ids) for sample in samples)
    work = necessary(plain, samples)
    print(f"{len(rows)} rows of {options.data}, {tokens:,} tokens, {work / 1e12:.2f} TFLOP necessary")

    def ours(name):
        run = engine.Engine(loaded[name][0], engine.TOKEN_BUDGET[options.device.split(":")[0]])
        return {i: sums for batch in run(row_pairs) for i, sums in batch.items()}

    def theirs():
        for question, answer in zip(questions, answers, strict=True):
            one_row(tokenizer, plain, question, answer, limit)

    runs = {"peer, float32": [], "float32": [], "bfloat16": []}
    with memory.reuse_freed_memory():
        for name in dtypes:  # warm up
            engine.Engine(loaded[name][0], 512)(row_pairs[:1]).__next__()
        for _ in range(options.rounds):
            speed = rate(torch.float32, options.device)
            runs["peer, float32"].append((seconds(theirs, options.device), speed))
            for name, dtype in dtypes.items():
                speed = rate(dtype, options.device)
                runs[name].append((seconds(lambda name=name: ours(name), options.device), speed))
    base = statistics.median(took for took, _ in runs["peer, float32"])
    print(f"{'':14}{'seconds':>9}{'rows/s':>8}{'tokens/s':>10}{'GFLOP/s':>9}{'of rate':>9}{'ratio':>7}")
    for name, measured in runs.items():
        took = statistics.median(took for took, _ in measured)
        share = statistics.median(work / took / speed for took, speed in measured)
        print(
            f"{name:14}{took:9.1f}{len(rows) / took:8.2f}{tokens / took:10,.0f}{work / took / 1e9:9.0f}"
            f"{share:9.0%}{base / took:7.2f}"
        )
    exact, fast = ours("float32"), ours("bfloat16")
    scores = [[_log_ifd(sums[i], row_pairs[i]) for i in sorted(exact)] for sums in (exact, fast)]
    print(f"bfloat16 against float32: Spearman {spearmanr(*scores).statistic:.4f}")


def _log_ifd(sums, pair) -> float:
    return sums.conditioned / pair.conditioned.n_targets - sums.alone / pair.alone.n_targets


if __name__ == "__main__":
    main()
