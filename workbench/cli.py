"""The same verbs without a screen: `python -m workbench <verb>`."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from .errors import UserError


def main(arguments: list[str] | None = None) -> None:
    """Parse and run; a mistake that the user can mend ends in one sentence and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        sys.exit(_complain(str(error)))
    except KeyboardInterrupt:
        sys.exit(_complain("stopped; what was scored so far is stored and will not be scored again.", 130))


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
    quickstart.add_argument("--recipe", type=Path, help="a recipe file to start from")
    quickstart.add_argument(
        "--output", type=Path, default=Path("runs/quickstart"), help="folder for the results"
    )
    quickstart.set_defaults(run=_quickstart)

    score = verbs.add_parser(
        "score", help="score a dataset and write it as Parquet; what is stored is not scored again"
    )
    score.add_argument("--recipe", type=Path, help="a recipe file, whose settings the others change")
    score.add_argument("--data", help="anything that wb.load takes (default: the bundled dataset)")
    score.add_argument("--model", help="the model to score with")
    score.add_argument("--dtype", help="auto, float32, bfloat16 or float16")
    score.add_argument("--rows", type=int, help="only the first so many rows")
    score.add_argument("--output", type=Path, default=Path("scores.parquet"), help="the file to write")
    score.set_defaults(run=_score)

    finetune = verbs.add_parser(
        "finetune", help="fine-tune in the foreground; SIGTERM writes a checkpoint, the same command goes on"
    )
    finetune.add_argument(
        "--recipe", type=Path, help="a recipe file with the model and its training settings"
    )
    finetune.add_argument("--data", help="the rows to train on, such as a selection (default: the recipe's)")
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
    from . import journey, report
    from .recipe import QUICKSTART, Recipe

    recipe = Recipe.from_yaml(options.recipe) if options.recipe else QUICKSTART
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

    from . import data, tables
    from .recipe import Recipe

    recipe = Recipe.from_yaml(options.recipe) if options.recipe else Recipe()
    changes = {"data": options.data, "scorer": options.model, "score_dtype": options.dtype}
    recipe = replace(recipe, **{name: value for name, value in changes.items() if value is not None})
    if not options.output.resolve().parent.is_dir():
        raise UserError(f"--output {options.output}: its folder does not exist; make it first.")
    scored = recipe.score(data.load(recipe.data, limit=options.rows))
    tables.write_parquet(scored, options.output)
    found = Counter(scored["score_status"][:]).most_common()
    print(f"{options.output}: {len(scored):,} rows, " + ", ".join(f"{n:,} {name}" for name, n in found))


def _finetune(options) -> None:
    from dataclasses import asdict

    from . import data
    from .recipe import Recipe
    from .training.foreground import run_here

    recipe = Recipe.from_yaml(options.recipe) if options.recipe else Recipe()
    rows = data.load(options.data or recipe.data)
    sys.exit(run_here(rows, options.model or recipe.model, options.output, **asdict(recipe.training)))


def _status(options) -> None:
    from .training import attach

    run = attach(options.folder)
    print(run)
    print(run.error or run.log(lines=1))


def _first_look(options) -> None:
    from .bundle import make_first_look

    print(f"wrote {make_first_look()}")
