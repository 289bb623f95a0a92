"""Which rows, and how many? The grid behind RESULTS.md, and its tables from the stored cells.

    python tests/benchmarks/evidence.py --data FILE [FILE ...] --folder DIR [--model NAME ...] [--cells N]
        [--minutes M] [--tables]

The rows come from `--data`, anything that `wb.load` takes, e.g. a file of CodeAlpaca-20k and "package:NAME"
for the documented functions of installed packages; rows that leak HumanEval or MBPP are dropped. The grid
resumes: the same command continues with the cells that are not finished, until `--cells` more are or
`--minutes` are over. `--tables` trains nothing and prints the tables again.

Arms: the paper's ifd-cluster, ifd-band, cluster-random, ifd-top, longest, random and random-tokens. Ratios:
10, 20, 40 and 100 %. Budgets: equal tokens and equal epochs. Learning rates: a usual and a very small one.
"""

import argparse
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pandas as pd

import workbench as wb
from workbench.cleaning.flagged import drop_flagged
from workbench.core import tables

STRATEGIES = ("ifd-cluster", "cluster-random", "ifd-band", "ifd-top", "longest")
MAIN = ("ifd-cluster", "cluster-random", "random", "random-tokens")  # with 5 seeds, the others with 3
BUDGETS = ("tokens", "epochs")
SETTINGS = {"method": "lora", "batch_size": 8, "max_length": 512, "strategy": "balanced"}
MEASURES = ("loss", "task_loss", "preference", "margin")


def rows(options) -> tuple[datasets.Dataset, datasets.Dataset]:
    """The pool, scored and clustered, and the held-out rows; both are stored in the folder."""
    files = [options.folder / name for name in ("pool.parquet", "heldout.parquet")]
    if not all(file.exists() for file in files):
        parts = [wb.load(source).select_columns(["instruction", "response"]) for source in options.data]
        ds = datasets.concatenate_datasets(parts)
        ids = {"id": [f"row-{i}" for i in range(len(ds))]}
        ds = tables.with_columns(ds, ids, {"id": tables.TEXT})
        if not options.keep_leaks:
            ds = drop_flagged(wb.mark_contaminated(ds)).dataset
        order = np.random.default_rng(0).permutation(len(ds))[: options.pool + options.heldout]
        heldout, pool = ds.select(order[: options.heldout]), ds.select(order[options.heldout :])
        pool = wb.cluster(wb.embed(wb.score(pool, options.model[0])), k=options.k)
        options.folder.mkdir(parents=True, exist_ok=True)
        tables.write_parquet(pool, files[0])
        tables.write_parquet(heldout, files[1])
    pool, heldout = (wb.load(str(file)) for file in files)
    return pool, heldout


def start(options, budget: str) -> wb.Sweep:
    """Plan and start the sweep of one budget."""
    pool, heldout = rows(options)
    arms = dict.fromkeys([*options.strategies, "random", "random-tokens"], min(3, options.seeds))
    return wb.sweep(
        pool,
        heldout,
        models=options.model,
        output_dir=options.folder / budget,
        ratios=options.ratios,
        strategies=options.strategies,
        seeds=arms | {arm: options.seeds for arm in arms if arm in MAIN},
        budget=budget,
        tasks=options.tasks,
        learning_rates=options.rates,
        detached=False,
        **SETTINGS | {"epochs": options.epochs, "max_steps": options.max_steps},
    )


def run(options) -> None:
    """Train until all cells are finished, or `--cells` more are, or `--minutes` are over."""
    left, deadline = options.cells, time.monotonic() + 60 * options.minutes
    for budget in BUDGETS:
        if left <= 0 or time.monotonic() > deadline:
            return
        sweep = start(options, budget)
        before = sweep.progress["done"]
        while sweep.active:
            if sweep.progress["done"] - before >= left or time.monotonic() > deadline:
                sweep.request_stop()
            time.sleep(0.5)
        left -= sweep.progress["done"] - before
        if sweep.error:
            print(sweep.error)


def show(budget: str, sweep: wb.Sweep) -> None:
    """Print the tables of one sweep in Markdown."""
    counts = sweep.progress
    print(f"\n## Equal {budget}\n\n{counts['done']} of {counts['cells']} cells.\n")
    print(markdown(sweep.base.reset_index()))
    summary = sweep.summary
    if summary.empty:
        return
    means = summary[
        ["model", "learning_rate", "arm", "ratio", "seeds", "n_rows", "epochs", "tokens", "steps"]
    ]
    for measure in MEASURES:
        if measure in summary:
            ends = [summary[f"{measure}_{end}"].map("{:.4f}".format) for end in ("low", "high")]
            means = means.assign(**{measure: summary[measure].map("{:.4f}".format)})
            means[measure] += " [" + ends[0] + ", " + ends[1] + "]"
    print(f"\nMeans over seeds with 95 % intervals:\n\n{markdown(means)}\n")
    print("\n".join(f"- {sentence}" for sentence in sweep.verdict))
    print("\n".join(f"- {sentence}" for sentence in agreement(summary)))


def agreement(summary: pd.DataFrame) -> list[str]:
    """Whether the arms rank alike, by their mean loss at each ratio, across models and learning rates."""
    ranks = summary[summary["ratio"] < 1].pivot_table(
        index=["ratio", "arm"], columns=["model", "learning_rate"], values="loss"
    )
    ranks, sentences = ranks.groupby("ratio").rank(), []
    for i, first in enumerate(ranks.columns):
        for second in ranks.columns[i + 1 :]:
            rho = ranks[first].corr(ranks[second])
            names = " and ".join(f"{Path(model).name} at {rate:g}" for model, rate in (first, second))
            sentences.append(f"ranks of the arms, {names}: correlation {rho:.2f}")
    return sentences


def markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.round(4).astype(str).values.tolist()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--folder", type=Path, required=True, help="where the cells are stored")
    options.add_argument("--data", nargs="+", default=["bundled"])
    options.add_argument("--keep-leaks", action="store_true", help="do not look for HumanEval and MBPP")
    options.add_argument("--model", nargs="+", default=["smollm2-135m"])
    options.add_argument("--pool", type=int, default=2000, help="rows to select from")
    options.add_argument("--heldout", type=int, default=200, help="rows to measure the loss on")
    options.add_argument("--k", type=int, default=10, help="clusters")
    options.add_argument("--tasks", nargs="*", default=["humaneval+", "mbpp+"])
    options.add_argument("--strategies", nargs="+", default=STRATEGIES)
    options.add_argument("--ratios", nargs="+", type=float, default=[0.1, 0.2, 0.4, 1.0])
    options.add_argument("--rates", nargs="+", type=float, default=[5e-4, 5e-6])
    options.add_argument("--seeds", type=int, default=5, help="of the main arms; 3 of the others")
    options.add_argument("--epochs", type=int, default=1)
    options.add_argument("--max-steps", type=int, help="of a training on all rows")
    options.add_argument("--cells", type=float, default=float("inf"), help="stop after so many more cells")
    options.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many minutes")
    options.add_argument("--tables", action="store_true", help="only print the tables of the stored cells")
    options = options.parse_args()
    if not options.tables:
        run(options)
    print("Command: " + " ".join(["python tests/benchmarks/evidence.py", *sys.argv[1:]]))
    for budget in BUDGETS:
        if (options.folder / budget / "plan.json").exists():
            show(budget, wb.Sweep(options.folder / budget))


if __name__ == "__main__":
    main()
