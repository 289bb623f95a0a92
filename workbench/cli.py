"""The same verbs without a screen: `python -m workbench <verb>`."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from .core.errors import UserError

# Options of `eval` that are parameters of `evaluate` by the same name.
_ASKING = (
    *("sanitize", "limit", "template", "n_samples", "temperature", "top_p", "seed"),
    *("max_new_tokens", "batch_size", "dtype", "backend"),
)


def main(arguments: list[str] | None = None) -> None:
    """Parse and run; a mistake that the user can mend ends in one sentence and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        sys.exit(_complain(str(error)))
    except KeyboardInterrupt:
        sys.exit(_complain("stopped; what was done so far is stored and will not be done again.", 130))


def _complain(sentence: str, code: int = 2) -> int:
    print(f"workbench: {sentence}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workbench", description="Data-efficient fine-tuning of code language models."
    )
    verbs = parser.add_subparsers(required=True, metavar="verb")

    quickstart = verbs.add_parser(
        "quickstart", help="the whole journey in minutes: score, select, pack, fine-tune, compare"
    )
    quickstart.add_argument("--data", help="anything that wb.load takes (default: the bundled dataset)")
    quickstart.add_argument("--model", help="the model to score with and to tune")
    quickstart.add_argument("--rows", type=int, help="use so many rows of the data (0: all)")
    quickstart.add_argument("--ratio", type=float, help="share of the eligible rows to keep (0.4)")
    quickstart.add_argument("--full", action="store_true", help="also train on all rows")
    quickstart.add_argument("--recipe", help="a recipe file or a preset to start from")
    quickstart.add_argument(
        "--output", type=Path, default=Path("runs/quickstart"), help="folder for the results"
    )
    quickstart.set_defaults(run=_quickstart)

    score = verbs.add_parser(
        "score", help="score a dataset and write it as Parquet; what is stored is not scored again"
    )
    score.add_argument("--recipe", help="a recipe file or a preset, whose settings the others change")
    score.add_argument("--data", help="anything that wb.load takes (default: the bundled dataset)")
    score.add_argument("--model", help="the model to score with")
    score.add_argument("--dtype", help="auto, float32, bfloat16 or float16")
    score.add_argument("--rows", type=int, help="only the first so many rows")
    score.add_argument("--output", type=Path, default=Path("scores.parquet"), help="the file to write")
    score.set_defaults(run=_score)

    select = verbs.add_parser(
        "select", help="write the rows that a recipe keeps; what the data lacks is scored and clustered first"
    )
    select.add_argument("--recipe", required=True, help="a recipe file or a preset")
    select.add_argument("--data", help="anything that wb.load takes, all of it (default: the recipe's)")
    select.add_argument(
        "--output", type=Path, default=Path("selection.jsonl"), help="the file to write: .jsonl or .parquet"
    )
    select.set_defaults(run=_select)

    recipe = verbs.add_parser("recipe", help="print a preset as YAML, to change and to pass as --recipe")
    recipe.add_argument("name", nargs="?", help="the preset (without: their names)")
    recipe.set_defaults(run=_recipe)

    export = verbs.add_parser(
        "export", help="write rows, or a run's model, with a card, as other tools read them"
    )
    export.add_argument("what", help="a run's folder, or rows: anything that wb.load takes")
    export.add_argument("output", type=Path, help="the new folder")
    export.add_argument("--format", help="messages, alpaca, sharegpt, parquet, dataset; merged, adapter")
    export.add_argument("--recipe", help="a recipe file or a preset: adds configs for other trainers")
    export.set_defaults(run=_export)

    launch = verbs.add_parser("launch", help="prepare training on several GPUs, and print its command")
    launch.add_argument("--recipe", required=True, help="a recipe file or a preset")
    launch.add_argument("--data", required=True, help="the selection to train on, all of it")
    launch.add_argument("--gpus", type=int, help="on so many GPUs (default: as in the recipe)")
    launch.add_argument("--output", type=Path, required=True, help="the folder of the run")
    launch.set_defaults(run=_launch)

    judged = verbs.add_parser(
        "eval",
        help="let a model write what a benchmark asks for, or take samples, and judge them in a sandbox",
    )
    what = judged.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a model, or the folder of a run; killed, the same command goes on")
    what.add_argument("--samples", help="JSON lines of task_id and solution or completion")
    judged.add_argument(
        "--benchmark", default="humaneval", help="humaneval, humaneval+, mbpp, mbpp+, bundled or a file"
    )
    judged.add_argument(
        "--sanitize",
        action=argparse.BooleanOptionalAction,
        help="pass code through EvalPlus's sanitizer (default: a model's answers, not --samples)",
    )
    judged.add_argument("--limit", type=int, help="only the first so many tasks")
    judged.add_argument("--template", help="auto, raw (code to go on with), chat, deepseek or codellama")
    judged.add_argument("--n-samples", type=int, help="answers to each task (1)")
    judged.add_argument("--temperature", type=float, help="of sampling (0: greedy)")
    judged.add_argument("--top-p", type=float, help="share of the probability to sample from (1)")
    judged.add_argument("--seed", type=int, help="of sampling (0)")
    judged.add_argument("--max-new-tokens", type=int, help="of an answer (512)")
    judged.add_argument("--batch-size", type=int, help="answers that are written at once (48)")
    judged.add_argument("--dtype", help="auto, float32, bfloat16 or float16")
    judged.add_argument("--backend", help="transformers or vllm")
    judged.add_argument("--output", type=Path, help="the report to write, such as rep.json")
    judged.add_argument("--against", type=Path, help="a report written before, to compare this one with")
    judged.set_defaults(run=_eval)

    finetune = verbs.add_parser(
        "finetune", help="fine-tune in the foreground; SIGTERM writes a checkpoint, the same command goes on"
    )
    finetune.add_argument(
        "--recipe", type=Path, help="a recipe file with the model and its training settings"
    )
    finetune.add_argument("--data", help="the rows to train on, such as a selection (default: the recipe's)")
    finetune.add_argument("--heldout", help="rows to measure the loss on, every eval_steps of the recipe")
    finetune.add_argument("--model", help="the model to tune")
    finetune.add_argument("--output", type=Path, default=Path("runs/finetune"), help="folder of the run")
    finetune.set_defaults(run=_finetune)

    status = verbs.add_parser("status", help="how a run stands, from its folder")
    status.add_argument("folder", type=Path)
    status.set_defaults(run=_status)

    first_look = verbs.add_parser(
        "first-look", help="compute the scores, clusters and map that come with the bundled dataset again"
    )
    first_look.set_defaults(run=_first_look)
    return parser


def _quickstart(options) -> None:
    from .study import journey, report
    from .study.presets import recipe_of

    recipe = recipe_of(options.recipe or "quickstart")
    changes = {"data": options.data, "ratio": options.ratio, "rows": options.rows}
    if options.model:
        changes |= {"model": options.model, "scorer": options.model}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes.get("rows") == 0:
        changes["rows"] = None
    recipe = replace(recipe, **changes, full=options.full or recipe.full)
    study = journey.travel(recipe, options.output)
    page = report.write_html(study)
    print("\n" + report.comparison_table(study).to_string(index=False))
    kept = study.selection.report
    print(f"\nrows {kept.n_rows}, kept {kept.n_kept}; padding", end=" ")
    print(", ".join(f"{name} {rate:.1%}" for name, rate in study.padding.items()))
    print("seconds: " + ", ".join(f"{name} {seconds:g}" for name, seconds in study.seconds.items()))
    print(f"report: {page}")


def _score(options) -> None:
    from collections import Counter

    from . import data
    from .core import tables
    from .study.presets import recipe_of
    from .study.recipe import Recipe

    recipe = recipe_of(options.recipe) if options.recipe else Recipe()
    changes = {"data": options.data, "scorer": options.model, "score_dtype": options.dtype}
    recipe = replace(recipe, **{name: value for name, value in changes.items() if value is not None})
    if not options.output.resolve().parent.is_dir():
        raise UserError(f"--output {options.output}: its folder does not exist; make it first.")
    scored = recipe.score(data.load(recipe.data, limit=options.rows))
    tables.write_parquet(scored, options.output)
    found = Counter(scored["score_status"][:]).most_common()
    print(f"{options.output}: {len(scored):,} rows, " + ", ".join(f"{n:,} {name}" for name, n in found))


def _select(options) -> None:
    from . import data
    from .core import tables
    from .core.errors import one_of
    from .study.presets import recipe_of

    write = {".jsonl": tables.write_jsonl, ".parquet": tables.write_parquet}
    one_of("--output's suffix", options.output.suffix, write)
    if not options.output.resolve().parent.is_dir():
        raise UserError(f"--output {options.output}: its folder does not exist; make it first.")
    recipe = recipe_of(options.recipe)
    selection = recipe.select(recipe.prepare(data.load(options.data or recipe.data)))
    kept, report = selection.dataset, selection.report
    if options.output.suffix == ".jsonl" and "embedding" in kept.column_names:
        kept = kept.remove_columns("embedding")
    write[options.output.suffix](kept, options.output)
    print(f"{options.output}: {report.n_kept:,} of {report.n_rows:,} rows kept by {recipe.strategy}")
    print(f"rows sha256 {tables.rows_sha256(kept)}")


def _recipe(options) -> None:
    from .study.presets import PRESETS, preset

    print(str(preset(options.name)) if options.name else "\n".join(PRESETS), end="" if options.name else "\n")


def _export(options) -> None:
    from . import data
    from .exports import export

    is_run = (Path(options.what) / "run.json").exists()
    what = options.what if is_run else data.load(options.what)
    print(f"wrote {export(what, options.output, options.format, recipe=options.recipe)}")


def _launch(options) -> None:
    from .study.launch import prepare
    from .study.presets import recipe_of

    print(prepare(recipe_of(options.recipe), options.output, options.data, options.gpus))


def _eval(options) -> None:
    from . import evaluation

    if options.output and not options.output.resolve().parent.is_dir():
        raise UserError(f"--output {options.output}: its folder does not exist; make it first.")
    before = evaluation.EvalReport.load(options.against) if options.against else None
    given = {name: getattr(options, name) for name in _ASKING if getattr(options, name) is not None}
    if options.model and options.output:
        given["samples_to"] = options.output.with_suffix(".samples.jsonl")
    report = evaluation.evaluate(
        _model_or_run(options.model), options.benchmark, samples=options.samples, **given
    )
    print(report, report.scores.round(4).to_string(), sep="\n")
    for sentence in report.notes:
        print(f"- {sentence}")
    if before:
        found = report.compare(before)
        print(found, found.flipped.to_string(index=False), sep="\n")
    if options.output:
        print(f"wrote {report.save(options.output)}")


def _model_or_run(name: str | None):
    """The run in the folder `name` where it holds one."""
    if name and (Path(name) / "run.json").exists():
        from .training import attach

        return attach(name)
    return name


def _finetune(options) -> None:
    from dataclasses import asdict

    from . import data
    from .study.recipe import Recipe
    from .training.job import run_here

    recipe = Recipe.from_yaml(options.recipe) if options.recipe else Recipe()
    rows = data.load(options.data or recipe.data)
    heldout = data.load(options.heldout) if options.heldout else None
    model = options.model or recipe.model
    sys.exit(run_here(rows, model, options.output, heldout, **asdict(recipe.training)))


def _status(options) -> None:
    from .training import attach

    run = attach(options.folder)
    print(run)
    print(run.error or run.log(lines=1))


def _first_look(options) -> None:
    from .study.first_look import make_first_look

    print(f"wrote {make_first_look()}")
