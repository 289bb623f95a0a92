"""The paper's table of efficiency, through `workbench launch`: padding, time and memory of each way to pack.

    python tests/benchmarks/packing_efficiency.py --toy oss --device cpu --gpus 2
    python tests/benchmarks/packing_efficiency.py --model MODEL --data rows.jsonl --gpus 8

Each variant trains the same rows in the same steps, on as many processes as there are `--gpus`, in turn and
`--rounds` times; the table has medians. Variants are a strategy and whether packed samples see each other:

    pad, dynamic, balanced, flat     isolated: the loss is that of unpacked training
    dynamic-leaky, ...               samples see each other, as with the paper's released collator, whose
                                     attention mask and full logits take more memory

`--toy oss` and `--toy evol` make a llama of 4 layers and hidden size 256, and rows whose lengths are like
those of OSS-Instruct and Evol-Instruct; `--model` and `--data` take real ones.

Seconds are those of training, without loading and saving. Memory is what the first process needs above what
it held before the model was loaded: allocated on its GPU, or resident on a CPU. On several GPUs the model is
sharded.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

STRATEGIES = ("pad", "dynamic", "balanced", "flat")
VARIANTS = ("pad", "dynamic-leaky", "dynamic", "balanced", "flat")
LENGTHS = {"oss": (450, 0.2716), "evol": (500, 0.4975)}  # tokens: median and sigma of a lognormal
ROOT = Path(__file__).resolve().parents[2]


def toy_model(folder: Path, vocabulary: int) -> str:
    """Write a random llama whose tokenizer has a token for each byte; returns its folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, set_seed

    from workbench.lm.models import quiet

    alphabet = ["<eos>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bpe = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>", pad_token="<pad>").save_pretrained(
        folder
    )
    set_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    with quiet():
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


def toy_rows(name: str, n: int):
    """Rows of letters, a third of each the instruction, with lengths as in a real dataset."""
    import datasets

    rng, (median, sigma) = np.random.default_rng(0), LENGTHS[name]
    lengths = np.clip(rng.lognormal(np.log(median), sigma, n), 64, 2000).astype(int)
    texts = ["".join(rng.choice(list("abcdefgh "), size)) for size in lengths]
    return datasets.Dataset.from_dict(
        {
            "instruction": [text[: len(text) // 3] for text in texts],
            "response": [text[len(text) // 3 :] for text in texts],
        }
    )


def train(variant: str, model: str, rows: str, options, folder: Path) -> dict[str, float]:
    """Train one variant with `workbench launch` in `folder`; returns its figures."""
    from workbench.study import launch
    from workbench.study.recipe import Recipe
    from workbench.training import TrainingSettings, attach

    strategy, _, leaky = variant.partition("-")
    settings = TrainingSettings(
        strategy=strategy,
        leaky=bool(leaky),
        method=options.method,
        batch_size=options.batch_size,
        max_length=options.max_length,
        dtype=options.dtype,
        device=options.device,
        save_minutes=None,
    )
    command = launch.prepare(Recipe(model=model, training=settings, gpus=options.gpus), folder, rows)
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.accelerate_cli", *shlex.split(command)[1:]],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(options.threads)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{variant}: {done.stderr[-3000:]}")
    run = attach(folder)
    summary = run.summary
    return {
        "padding": summary["padding_rate"],
        "seconds": summary["seconds"],
        "tokens/s": summary["tokens"] / summary["seconds"],
        "MiB": summary["peak_memory_mib"],
        "loss": run.history[-1]["loss"],
    }


def print_table(figures: dict[str, list[dict[str, float]]]) -> None:
    medians = {
        variant: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for variant, runs in figures.items()
    }
    first = next(iter(medians))
    base = medians[first]
    share = f"of {first}"
    print(f"{'':18}{'padding':>9}{'seconds':>9}{share:>9}{'tokens/s':>10}{'MiB':>9}{share:>9}{'loss':>9}")
    for variant, run in medians.items():
        time, memory = (run[name] / max(1e-9, base[name]) for name in ("seconds", "MiB"))
        print(
            f"{variant:18}{run['padding']:9.1%}{run['seconds']:9.2f}{time:9.2f}{run['tokens/s']:10,.0f}"
            f"{run['MiB']:9,.0f}{memory:9.2f}{run['loss']:9.4f}"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--toy", choices=LENGTHS, help="a toy model and made-up rows")
    options.add_argument(
        "--vocabulary", type=int, default=32_000, help="of the toy, as in the paper's models"
    )
    options.add_argument("--model", default="smollm2-135m")
    options.add_argument("--data", default="bundled")
    options.add_argument("--gpus", type=int, default=1, help="processes, on CPUs too")
    options.add_argument("--device", default="auto")
    options.add_argument("--dtype", default="auto")
    options.add_argument("--method", default="full")
    options.add_argument("--batch-size", type=int, default=16, help="samples per process and step")
    options.add_argument("--max-length", type=int, default=2048)
    options.add_argument("--steps", type=int, default=4)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--threads", type=int, default=1, help="of each process")
    options.add_argument(
        "--variants",
        nargs="+",
        default=VARIANTS,
        choices=[*STRATEGIES, *(f"{name}-leaky" for name in STRATEGIES)],
    )
    options = options.parse_args()

    import workbench as wb
    from workbench.core import tables

    n = options.steps * options.batch_size * options.gpus
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = toy_model(folder / "toy", options.vocabulary) if options.toy else options.model
        rows = toy_rows(options.toy, n) if options.toy else wb.load(options.data).shuffle(seed=0)
        tables.write_jsonl(rows.select(range(min(n, len(rows)))), folder / "rows.jsonl")
        figures = {variant: [] for variant in options.variants}
        for round_number in range(options.rounds):
            for variant, runs in figures.items():
                path = folder / f"{variant}-{round_number}"
                runs.append(train(variant, model, str(folder / "rows.jsonl"), options, path))
    print(f"{options.toy or options.model}: {n} rows, {options.gpus} processes, device {options.device}")
    print_table(figures)


if __name__ == "__main__":
    main()
