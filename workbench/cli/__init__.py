"""The command line, `workbench <verb>` or `python -m workbench <verb>`: the stages without a notebook."""

import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

from ..core.errors import UserError
from ..core.storage import RemotePath, as_path, check_folder, is_url
from . import options

# Options of `eval` that are parameters of `wb.evaluate` with the same name.
_EVALUATE_OPTIONS = (
    *("measures", "n_twins", "sanitize", "limit", "template", "n_samples", "temperature", "top_p", "seed"),
    *("max_new_tokens", "batch_size", "dtype", "backend"),
)


def main(arguments: list[str] | None = None) -> None:
    """Run one command.

    Exits with code 2 and one sentence on stderr after a UserError, and with 130 after an interrupt.
    """
    args = _parser().parse_args(arguments)
    try:
        args.run(args)
    except UserError as error:
        sys.exit(_complain(str(error)))
    except KeyboardInterrupt:
        sys.exit(_complain("stopped; results so far are cached and will not be computed again.", 130))


def _complain(sentence: str, code: int = 2) -> int:
    print(f"workbench: {sentence}", file=sys.stderr)
    return code


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="workbench", description="Data-efficient fine-tuning of code language models (arXiv 2504.12687)."
    )
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for name, (summary, add_options, run) in _VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        add_options(verb)
        verb.set_defaults(run=run)
    return parser


def _quickstart(args) -> None:
    from ..study import journey, report
    from ..study.presets import recipe_of

    recipe = recipe_of(args.recipe or "quickstart")
    recipe = _with_data(recipe, args)
    changes = {"ratio": args.ratio, "rows": args.rows, **_selection(args)}
    if args.model:
        changes |= {"model": args.model, "scorer": args.model}
    changes = _given(changes)
    if changes.get("rows") == 0:
        changes["rows"] = None
    if args.keep_leaks:
        changes["exclude"] = tuple(rule for rule in recipe.exclude if rule != "leak")
    recipe = replace(recipe, **changes, full=args.full or recipe.full)
    study = journey.travel(recipe, args.output)
    page = report.write_html(study)
    print("\n" + report.comparison_table(study).to_string(index=False))
    print("\n" + report.differences_table(study).to_string(index=False))
    print(f"\nverdict: {study.verdict}")
    selected = study.selection.report
    print(f"\nrows {selected.n_rows}, kept {selected.n_kept}; padding", end=" ")
    print(", ".join(f"{name} {rate:.1%}" for name, rate in study.padding.items()))
    print("seconds: " + ", ".join(f"{name} {seconds:g}" for name, seconds in study.seconds.items()))
    print(f"report: {page}")


def _inspect(args) -> None:
    from .. import data
    from ..cleaning.flagged import check_rules
    from ..cleaning.inspection import inspect

    if args.drop:
        check_rules(args.drop, "--drop")
        if not args.output:
            raise UserError("--drop needs --output FILE, which the remaining rows are written to.")
    path = _table_path(args) if args.output else None
    report = inspect(data.load(args.data, **_data_options(args), **_storage(args, args.data)))
    print(report)
    if path is None:
        return
    rows = report.drop(*args.drop).dataset if args.drop else report.marked
    _write_table(rows, path)
    what = f"of {len(report.source):,} rows remain" if args.drop else "rows with a column per rule"
    print(f"\n{args.output}: {len(rows):,} {what}")


def _write_table(ds, path: Path | RemotePath) -> None:
    """Write a table to a .jsonl or .parquet file; JSON Lines without the embeddings."""
    from ..core import tables

    if path.suffix == ".jsonl" and "embedding" in ds.column_names:
        ds = ds.remove_columns("embedding")
    {".jsonl": tables.write_jsonl, ".parquet": tables.write_parquet}[path.suffix](ds, path)


def _table_path(args) -> Path | RemotePath:
    """The .jsonl or .parquet file to write. Raises UserError for another suffix or without a folder."""
    from ..core.errors import one_of

    path = _output_path(args)
    one_of("--output's suffix", path.suffix, (".jsonl", ".parquet"))
    return path


def _score(args) -> None:
    from collections import Counter

    from ..core import tables
    from ..study.presets import recipe_of
    from ..study.recipe import Recipe

    recipe = recipe_of(args.recipe) if args.recipe else Recipe()
    changes = {"scorer": args.model, "score_dtype": args.dtype}
    recipe = replace(_with_data(recipe, args), **_given(changes))
    output = _output_path(args)
    scored = recipe.score(recipe.load(**_storage(args, recipe.data)))
    tables.write_parquet(scored, output)
    counts = Counter(scored["score_status"][:]).most_common()
    print(f"{args.output}: {len(scored):,} rows, " + ", ".join(f"{n:,} {name}" for name, n in counts))


def _select(args) -> None:
    from ..core import tables
    from ..study.presets import recipe_of

    output = _table_path(args)
    recipe = replace(_with_data(recipe_of(args.recipe), args), **_selection(args))
    if args.ratio is not None:
        recipe = replace(recipe, ratio=args.ratio, keep_rows=None, keep_tokens=None)
    rows = _without_excluded(recipe, recipe.load(**_storage(args, recipe.data)))
    selection = recipe.select(recipe.prepare(rows))
    kept, report = selection.dataset, selection.report
    _write_table(kept, output)
    print(f"{args.output}: {report.n_kept:,} of {report.n_rows:,} rows kept by {_rule(selection)}")
    print(f"rows sha256 {tables.rows_sha256(kept)}")


def _without_excluded(recipe, ds):
    """The rows of `ds` that the recipe's `exclude` leaves; says what it leaves out."""
    from ..study.journey import leave_out

    return leave_out(recipe, ds, print)[0]


def _selection(args) -> dict:
    """The settings of the selection on the command line."""
    return _given({name: getattr(args, name) for name in ("strategy", "by", "lower", "upper")})


def _rule(selection) -> str:
    """The strategy and, unless it is IFD, the column that ranks."""
    by = selection.settings.get("by", "ifd")
    return selection.settings["strategy"] + ("" if by == "ifd" else f" by {by}")


def _recipe(args) -> None:
    from ..study.presets import PRESETS, preset

    if args.name:
        print(preset(args.name), end="")
    else:
        print(*PRESETS, sep="\n")


def _export(args) -> None:
    from .. import data
    from ..exports import export

    is_run = (Path(args.what) / "run.json").exists()
    what = args.what if is_run else data.load(args.what, **_data_options(args), **_storage(args, args.what))
    path = export(what, args.output, args.format, recipe=args.recipe, **_storage(args, args.output))
    print(f"wrote {path}")


def _launch(args) -> None:
    from ..study.launch import prepare
    from ..study.presets import recipe_of

    print(prepare(_with_data(recipe_of(args.recipe), args), args.output, args.data, args.gpus))


def _eval(args) -> None:
    from .. import evaluation

    if args.output:
        check_folder("--output", args.output)
    earlier = evaluation.EvalReport.load(args.against) if args.against else None
    settings = _given({name: getattr(args, name) for name in _EVALUATE_OPTIONS})
    if args.model and args.output:
        settings["samples_to"] = args.output.with_suffix(".samples.jsonl")
    report = evaluation.evaluate(_model_or_run(args.model), args.benchmark, samples=args.samples, **settings)
    print(report)
    for table in (report.scores, report.measures):
        if len(table):
            print(table.round(4).to_string())
    for sentence in report.notes:
        print(f"- {sentence}")
    if earlier:
        comparison = report.compare(earlier)
        print(comparison, comparison.measures.round(4).to_string(), sep="\n")
        if len(comparison.flipped):
            print(comparison.flipped.to_string(index=False))
    if args.output:
        print(f"wrote {report.save(args.output)}")


def _model_or_run(name: str | None):
    """The run if `name` is the folder of one, else `name`."""
    if name and (Path(name) / "run.json").exists():
        from ..training import attach

        return attach(name)
    return name


def _finetune(args) -> None:
    from dataclasses import asdict

    from .. import data
    from ..study.recipe import Recipe
    from ..training.job import run_here

    recipe = Recipe.from_yaml(args.recipe) if args.recipe else Recipe()
    recipe = _on_one_gpu(_with_data(recipe, args))
    training = replace(recipe.training, **_given({"train_on": args.train_on}))
    rows = recipe.load()
    of_heldout = _data_options(args) | {"limit": None, "split": args.heldout_split}
    heldout = data.load(args.heldout, **of_heldout) if args.heldout else None
    model = args.model or recipe.model
    sys.exit(run_here(rows, model, args.output, heldout, **asdict(training)))


def _sweep(args) -> None:
    from .. import evidence
    from ..study import sweep_report
    from ..study.presets import recipe_of

    recipe = _with_data(recipe_of(args.recipe), args)
    design = recipe.sweep
    if args.model or not design.models:
        design = replace(design, models=(args.model or recipe.model,))
    pool, heldout = recipe.hold_out(recipe.load())
    pool = _without_excluded(recipe, pool)
    for strategy in design.arms:
        pool = recipe.with_strategy(strategy).prepare(pool)
    selection = {"max_ifd": recipe.max_ifd, **recipe.score_settings}
    evidence.prepare(pool, heldout, args.output, design, recipe.training, selection=selection)
    code = evidence.sweep_here(args.output)
    sweep = evidence.Sweep(args.output)
    print(sweep_report.means(sweep).to_string(index=False), *sweep.verdict, sep="\n")
    print(f"report: {sweep_report.write(sweep)}")
    if sweep.error:
        _complain(str(sweep.error))
    sys.exit(code)


def _on_one_gpu(recipe):
    """The recipe for one process. Says so if it names more GPUs, which only `launch` uses."""
    one = recipe.on(1)
    if recipe.gpus > 1:
        print(
            f"the recipe's gpus={recipe.gpus}: finetune trains on one, with accumulation="
            f"{one.training.accumulation} instead of {recipe.training.accumulation}, so that a step has as "
            f"many samples; `workbench launch` trains on {recipe.gpus}."
        )
    return one


def _status(args) -> None:
    from ..training import attach

    if (args.folder / "plan.json").exists():
        from ..evidence import Sweep

        sweep = Sweep(args.folder)
        print(sweep, sweep.error or sweep.log(lines=1), sep="\n")
        return
    run = attach(args.folder)
    print(run)
    print(run.error or run.log(lines=1))


def _first_look(args) -> None:
    from ..study.first_look import make_first_look

    print(f"wrote {make_first_look()}")


def _data_options(args) -> dict:
    """The parameters of `wb.load` on the command line."""
    from ..study.recipe import DATA_FIELDS

    return _given({name: getattr(args, name) for name in DATA_FIELDS})


def _with_data(recipe, args):
    """The recipe with the data of the command line. Other data has other columns, and other parts."""
    settings = _data_options(args)
    return recipe.of_data(args.data, **settings) if args.data else replace(recipe, **settings)


def _given(values: dict) -> dict:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _output_path(args) -> Path | RemotePath:
    """The file to write. Raises UserError before any work if its folder or bucket does not exist."""
    path = as_path(args.output, **_storage(args, args.output))
    check_folder("--output", path)
    return path


def _storage(args, path: str) -> dict:
    """`storage_options` on the command line as a keyword argument, if `path` is a URL."""
    return {"storage_options": args.storage_options} if args.storage_options and is_url(path) else {}


# Verb -> what it does, its options and its function.
_VERBS = {
    "quickstart": (
        "run the whole method in minutes: score, select, pack, fine-tune and compare on held-out rows",
        options.quickstart,
        _quickstart,
    ),
    "inspect": (
        "report duplicates, leaks, refusals and other rows to look at; leave them out by rule",
        options.inspect,
        _inspect,
    ),
    "score": (
        "score a dataset and write it as Parquet; cached rows are not scored again",
        options.score,
        _score,
    ),
    "select": (
        "write the rows that a recipe keeps; missing scores and clusters are computed first",
        options.select,
        _select,
    ),
    "recipe": (
        "print a preset as YAML, to edit and to pass as --recipe",
        options.recipe,
        _recipe,
    ),
    "export": (
        "write rows, or a run's model, in the format of other tools, with a card",
        options.export,
        _export,
    ),
    "launch": (
        "prepare training on several GPUs, with the loss and weights of one process, and print its command",
        options.launch,
        _launch,
    ),
    "eval": (
        "generate a model's answers to a benchmark, or read samples, and judge them in a sandbox",
        options.eval,
        _eval,
    ),
    "finetune": (
        "fine-tune in the foreground; SIGTERM writes a checkpoint and ends, the same command resumes",
        options.finetune,
        _finetune,
    ),
    "sweep": (
        "train on several ratios and strategies with several seeds, and say what that shows; the same "
        "command resumes",
        options.sweep,
        _sweep,
    ),
    "status": ("show the state of a run or sweep, from its folder", options.status, _status),
    "first-look": (
        "compute the bundled dataset's scores, clusters and map coordinates again",
        options.nothing,
        _first_look,
    ),
}
