"""Measure the peak memory of scoring 10,000 and 100,000 rows with a toy model.

    python tests/benchmarks/memory.py [rows ...]

Each size runs in its own process with an empty store. Peaks are given in MiB above the memory before scoring.
Memory is flat if the peak grows by no more than the size of the rows' columns.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE


def save_toy_model(folder: Path) -> None:
    """Save a Llama of one layer and a byte-level tokenizer to `folder`."""
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        ["def add(a, b): return a + b"],
        trainers.BpeTrainer(special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False),
    )
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def measure(n: int) -> None:
    """Score `n` rows and print the peak memory above the start, in MiB."""
    import datasets
    import psutil
    import torch

    import workbench as wb
    from workbench.core.memory import PeakMemory

    with tempfile.TemporaryDirectory() as work:
        os.environ["WORKBENCH_CACHE"] = f"{work}/cache"
        save_toy_model(Path(work) / "model")
        ds = datasets.Dataset.from_dict(
            {
                "instruction": [f"Write the function number {i}." for i in range(n)],
                "response": [f"def function_{i}(x):\n    return x * {i} + {i % 97}" for i in range(n)],
            }
        )
        wb.score(ds.select(range(100)), f"{work}/model")  # imports, and loads the model
        start_mib = psutil.Process().memory_info().rss / 2**20
        start = time.perf_counter()
        with PeakMemory("cpu") as peak:
            scored = wb.score(ds, f"{work}/model")
        seconds = time.perf_counter() - start
        assert scored["score_status"][:] == ["ok"] * n
        print(
            f"{n:>9,} rows: start {start_mib:,.0f} MiB, peak {peak.peak_mib - start_mib:+,.0f} MiB, "
            f"{seconds:,.0f} s, {torch.get_num_threads()} threads"
        )


if __name__ == "__main__":
    if os.environ.get("MEASURE_ROWS"):
        measure(int(os.environ["MEASURE_ROWS"]))
    else:
        for rows in sys.argv[1:] or ("10000", "100000"):
            subprocess.run([sys.executable, __file__], env=os.environ | {"MEASURE_ROWS": rows}, check=True)
