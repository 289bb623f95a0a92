"""The options of each verb."""

import argparse
import json
from argparse import ArgumentParser
from pathlib import Path

_DATA = "anything that wb.load takes: a file, a URL, a hub id, 'bundled', 'package:NAME'"
_RECIPE = "a recipe file or the name of a preset (see `workbench recipe`)"
_DTYPE = "auto, float32, bfloat16 or float16"


def _output(verb: ArgumentParser, default: str, description: str, kind: type = Path) -> None:
    verb.add_argument(
        "--output", type=kind, default=kind(default), help=f"{description} (default: {default})"
    )


def storage(verb: ArgumentParser) -> None:
    """Add the options of the filesystem of URLs."""
    verb.add_argument(
        "--storage-options",
        type=_json_object,
        metavar="JSON",
        help="arguments of the filesystem of a URL in --data or the output, e.g. '{\"anon\": true}' for s3://",
    )


def _json_object(text: str) -> dict:
    value = json.loads(text)  # argparse names the option and the text after a ValueError
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def data(verb: ArgumentParser) -> None:
    """Add the options that say which part of --data is read, how, and from which columns."""
    parts = verb.add_argument_group("which part of the data is read, and how")
    parts.add_argument(
        "--split",
        help="of a hub dataset or a folder, e.g. test or, on the hub, 'train[:10%%]'",
    )
    parts.add_argument("--config", help="configuration of a hub dataset")
    parts.add_argument("--revision", help="branch, tag or commit of a hub dataset")
    parts.add_argument(
        "--streaming",
        action="store_const",
        const=True,
        help="read a hub dataset row by row without storing it; give --limit",
    )
    parts.add_argument("--encoding", help="of text files, e.g. latin-1 or utf-16 (default: utf-8)")
    parts.add_argument("--limit", type=int, help="stop after this number of usable rows")
    names = verb.add_argument_group("columns of the data, if their names are not recognized")
    names.add_argument("--instruction", metavar="COLUMN", help="the instruction")
    names.add_argument("--response", metavar="COLUMN", help="the response")
    names.add_argument("--input", metavar="COLUMN", help="text to append to the instruction")
    names.add_argument("--system", metavar="COLUMN", help="a system turn that opens the prompt")
    names.add_argument("--dialogue", metavar="COLUMN", help="whole dialogues, as lists of messages")


def scores(verb: ArgumentParser) -> None:
    """Add the strategy of the selection and its settings, those of the recipe by default."""
    verb.add_argument("--strategy", help="how rows are ranked (default: the recipe's, or ifd-cluster)")
    verb.add_argument(
        "--by", metavar="COLUMN", help="a numeric column that ranks in place of IFD, highest first"
    )
    verb.add_argument("--lower", type=float, help="of ifd-band: lowest quantile to keep (default: 0.25)")
    verb.add_argument("--upper", type=float, help="of ifd-band: highest quantile to keep (default: 0.75)")


def quickstart(verb: ArgumentParser) -> None:
    data(verb)
    verb.add_argument("--data", help=f"{_DATA} (default: the bundled dataset)")
    verb.add_argument("--model", help="model to score with and to fine-tune: a name, a folder or a hub id")
    verb.add_argument("--rows", type=int, help="number of rows to use; 0 uses all (default: 200)")
    verb.add_argument("--ratio", type=float, help="share of the eligible rows to keep (default: 0.4)")
    scores(verb)
    verb.add_argument(
        "--keep-leaks",
        action="store_true",
        help="keep rows that share text with tasks of HumanEval or MBPP, which are left out by default",
    )
    verb.add_argument("--full", action="store_true", help="also train on all rows")
    verb.add_argument("--recipe", help=f"start from {_RECIPE}; the other options change it")
    _output(verb, "runs/quickstart", "folder for all results")


def inspect(verb: ArgumentParser) -> None:
    data(verb)
    storage(verb)
    verb.add_argument("data", help=_DATA)
    verb.add_argument("--rows", dest="limit", type=int, help="the same as --limit")
    verb.add_argument("--drop", nargs="+", metavar="RULE", help="leave out the rows that these rules flag")
    verb.add_argument(
        "--output",
        type=Path,
        help="file to write, .jsonl or .parquet: with --drop the remaining rows, else all rows with a column "
        "per rule that says why a row is flagged",
    )


def score(verb: ArgumentParser) -> None:
    data(verb)
    verb.add_argument("--recipe", help=f"{_RECIPE}; the other options change it")
    verb.add_argument("--data", help=f"{_DATA} (default: the recipe's, or the bundled dataset)")
    verb.add_argument("--model", help="model to score with (default: the recipe's, or smollm2-135m)")
    verb.add_argument("--dtype", help=_DTYPE)
    verb.add_argument("--rows", dest="limit", type=int, help="the same as --limit")
    storage(verb)
    _output(verb, "scores.parquet", "Parquet file to write, also a URL, e.g. s3://bucket/scores.parquet", str)


def select(verb: ArgumentParser) -> None:
    data(verb)
    verb.add_argument("--recipe", required=True, help=_RECIPE)
    verb.add_argument("--data", help=f"{_DATA}; all its rows are used (default: the recipe's)")
    verb.add_argument("--ratio", type=float, help="share of the rows to keep (default: the recipe's budget)")
    scores(verb)
    storage(verb)
    _output(verb, "selection.jsonl", "file to write, .jsonl or .parquet, also a URL", str)


def recipe(verb: ArgumentParser) -> None:
    verb.add_argument("name", nargs="?", help="name of the preset; without it, list all names")


def export(verb: ArgumentParser) -> None:
    data(verb)
    verb.add_argument("what", help=f"a run's folder, or rows: {_DATA}")
    verb.add_argument("output", help="folder to create, also a URL")
    storage(verb)
    verb.add_argument(
        "--format",
        help="rows: messages (default), alpaca, sharegpt, parquet, dataset; run: merged (default), adapter",
    )
    verb.add_argument("--recipe", help=f"also write configs for other trainers, from {_RECIPE}")


def launch(verb: ArgumentParser) -> None:
    data(verb)
    verb.add_argument("--recipe", required=True, help=_RECIPE)
    verb.add_argument("--data", required=True, help="rows to train on, e.g. a selection; all are used")
    verb.add_argument("--gpus", type=int, help="number of GPUs (default: the recipe's)")
    verb.add_argument("--output", type=Path, required=True, help="folder of the run")


def eval(verb: ArgumentParser) -> None:
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model",
        help="a model or the folder of a run; if interrupted, run the same command again to resume",
    )
    source.add_argument("--samples", help="JSON lines with task_id and solution or completion")
    verb.add_argument(
        "--benchmark",
        default="humaneval",
        help="humaneval, humaneval+, mbpp, mbpp+, bundled or a file (default: %(default)s)",
    )
    verb.add_argument(
        "--sanitize",
        action=argparse.BooleanOptionalAction,
        help="pass code through EvalPlus's sanitizer (default: for --model, not for --samples)",
    )
    verb.add_argument(
        "--measures",
        nargs="+",
        metavar="MEASURE",
        help="loss, preference (of the reference over programs with one wrong token) and pass "
        "(default: pass, with the loss for instructions)",
    )
    verb.add_argument("--n-twins", type=int, help="programs with one wrong token per task (default: 6)")
    verb.add_argument("--limit", type=int, help="use only the first LIMIT tasks")
    verb.add_argument("--template", help="auto, raw (the model continues code), chat, deepseek or codellama")
    verb.add_argument("--n-samples", type=int, help="answers per task (default: 1)")
    verb.add_argument("--temperature", type=float, help="sampling temperature; 0 is greedy (default: 0)")
    verb.add_argument("--top-p", type=float, help="probability mass to sample from (default: 1)")
    verb.add_argument("--seed", type=int, help="seed of sampling (default: 0)")
    verb.add_argument("--max-new-tokens", type=int, help="longest answer, in tokens (default: 512)")
    verb.add_argument("--batch-size", type=int, help="answers generated at once (default: 48)")
    verb.add_argument("--dtype", help=_DTYPE)
    verb.add_argument("--backend", help="transformers or vllm")
    verb.add_argument("--output", type=Path, help="report to write, e.g. rep.json")
    verb.add_argument("--against", type=Path, help="earlier report to compare with")


def finetune(verb: ArgumentParser) -> None:
    data(verb)
    verb.add_argument("--recipe", type=Path, help="recipe file with the model and its training settings")
    verb.add_argument("--data", help="rows to train on, e.g. a selection (default: the recipe's)")
    verb.add_argument("--heldout", help="rows to measure the loss on, every `eval_steps` steps of the recipe")
    verb.add_argument("--heldout-split", default="train", help="split of --heldout (default: train)")
    verb.add_argument("--model", help="model to fine-tune (default: the recipe's)")
    verb.add_argument(
        "--train-on", help="answers of a dialogue to train on: last or all (default: the recipe's, or last)"
    )
    _output(verb, "runs/finetune", "folder of the run")


def sweep(verb: ArgumentParser) -> None:
    data(verb)
    verb.add_argument("--recipe", required=True, help=f"{_RECIPE}; its section `sweep` says what to vary")
    verb.add_argument("--data", help=f"{_DATA} (default: the recipe's)")
    verb.add_argument("--model", help="model to fine-tune (default: the recipe's)")
    _output(verb, "runs/sweep", "folder of the sweep")


def status(verb: ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, help="folder of the run or sweep")


def nothing(verb: ArgumentParser) -> None:
    pass
