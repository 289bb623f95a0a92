"""A selection as code, as a recipe and as a command: what makes the same rows again, elsewhere.

It starts from where the rows were loaded, as long as the table still holds just those rows, and repeats the
stages as they were noted; or else from the table itself, in a file.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

import datasets

from ..complexity import FEATURES
from ..core import tables
from ..core.errors import UserError
from ..selection import Selection
from ..study.recipe import Recipe
from ..training import TrainingSettings

_LOAD = ("source", "instruction", "response", "input", "split", "limit")
# Of each noted stage the settings that are repeated. A note may come from a stranger's file: nothing else of
# it gets into the code.
_STAGES = {
    "score": ("model", "convention", "prompt", "dtype", "max_length", "template"),
    "derive": ("variant", "min_tokens", "shrinkage"),
    "embed": ("model", "dtype", "max_length"),
    "cluster": ("k", "seed"),
}
_MAKES = {
    "score": (*FEATURES, "n_tokens"),
    "derive": ("ifd",),
    "embed": ("embedding",),
    "cluster": ("cluster",),
}
_AFTER = (("score", "derive"), ("embed", "cluster"))
# A stage's setting -> its name in a recipe.
_IN_RECIPE = {
    "score": {"model": "scorer", "dtype": "score_dtype", "max_length": "score_max_length"}
    | {name: name for name in ("convention", "prompt")},
    "derive": {name: name for name in _STAGES["derive"]},
    "embed": {"model": "embedder"},
    "cluster": {"k": "k", "seed": "cluster_seed"},
}


@dataclass(frozen=True)
class Origin:
    """Where a table's rows are from: `arguments` of `wb.load`, null for `wb.first_look`; and `stages`, noted
    name -> settings, that were done to them since."""

    arguments: dict | None
    stages: dict[str, dict]


def origin_of(ds: datasets.Dataset) -> Origin | None:
    """Null where it is not known, rows were left out, added or moved since, or stages came in an order that
    does not give these columns."""
    notes = tables.notes(ds)
    load = notes.get("load", {})
    if load.get("ids") != tables.ids_digest(ds) or not ("source" in load or "first_look" in load):
        return None
    order = list(notes)
    since = [stage for stage in order[order.index("load") + 1 :] if stage in _STAGES]
    if any({first, then} <= set(since) and since.index(then) < since.index(first) for first, then in _AFTER):
        return None
    explained = {*load.get("columns", ()), *(column for stage in since for column in _MAKES[stage])}
    if not {column for made in _MAKES.values() for column in made} & set(ds.column_names) <= explained:
        return None
    stages = {stage: _only(_STAGES[stage], notes[stage]) for stage in since}
    return Origin(_only(_LOAD, load) if "source" in load else None, stages)


def as_code(selection: Selection, pack: dict | None = None, table: str | Path | None = None) -> str:
    """Python that makes `selection` again, packs it with `pack`, and stops where the rows are others.

    It starts from `table`, a file with all rows (`tables.write_parquet`), where one is given; else from the
    rows' origin. UserError where that is not known.
    """
    kept = {name: value for name, value in selection.settings.items() if value is not None}
    report = selection.report
    lines = ["import workbench as wb", "from workbench.core import tables", ""]
    lines.append(f"# keeps {report.n_kept:,} of {report.n_rows:,} rows")
    lines += [_call("ds", "load", {"source": str(table)})] if table else _from_origin(selection.source)
    lines += [_call("sel", "select", kept, "ds"), f"rows = {tables.rows_sha256(selection.dataset)!r}"]
    lines += ['assert tables.rows_sha256(sel.dataset) == rows, "these are other rows"']
    if pack:
        lines.append(_call("plan", "pack", pack, "sel.dataset"))
    return "\n".join(lines) + "\n"


def as_recipe(selection: Selection, pack: dict | None = None, table: str | Path | None = None) -> Recipe:
    """The recipe with which `workbench select` keeps the rows of `selection`, and `finetune` packs them.

    Its data are `table`, or else the rows' origin where `replayable`.
    """
    kept, notes = selection.settings, tables.notes(selection.source)
    if table is None and not replayable(selection.source):
        raise UserError("a recipe cannot say where these rows are from; save the table and give its file.")
    found = {"data": str(table or notes["load"]["source"]), "strategy": kept["strategy"]}
    found |= {"keep_rows": kept["rows"], "keep_tokens": kept["tokens"], "seed": kept["seed"]}
    found |= {"max_ifd": float(kept["max_ifd"])} | ({"ratio": kept["ratio"]} if kept["ratio"] else {})
    for stage, names in _IN_RECIPE.items():
        made = _only(tuple(names), notes.get(stage, {}))
        found |= {names[name]: value for name, value in made.items()}
    training = {name: value for name, value in (pack or {}).items() if value is not None}
    training |= _only(("template",), notes.get("score", {}))
    return Recipe(**found, training=TrainingSettings(**training))


def replayable(ds: datasets.Dataset) -> bool:
    """Whether a recipe alone, without a file of the table, says all that made `ds`."""
    origin = origin_of(ds)
    if origin is None or origin.arguments is None or origin.arguments.keys() != {"source"}:
        return False
    embed = origin.stages.get("embed", {})
    return embed.get("dtype", "float32") == "float32" and embed.get("max_length") is None


def as_command(recipe: str | Path, output: str | Path) -> str:
    """The same without a screen: select, and train on what is kept."""
    return (
        f"workbench select --recipe {_quoted(recipe)} --output {_quoted(output)}\n"
        f"workbench finetune --recipe {_quoted(recipe)} --data {_quoted(output)} --output runs/tuned\n"
    )


def _from_origin(ds: datasets.Dataset) -> list[str]:
    origin = origin_of(ds)
    if origin is None:
        raise UserError(
            "the rows' origin is not known, or they were changed since; save the table and give its file."
        )
    first = "ds = wb.first_look()" if origin.arguments is None else _call("ds", "load", origin.arguments)
    return [first, *(_call("ds", name, made, "ds") for name, made in origin.stages.items())]


def _call(name: str, function: str, settings: dict, *first: str) -> str:
    """`name = wb.function(first, setting=value)`; a value is what it prints as, never code."""
    settings = dict(settings)
    if "source" in settings:
        first = (repr(settings.pop("source")),)
    given = [*first, *(f"{key}={value!r}" for key, value in settings.items() if value is not None)]
    return f"{name} = wb.{function}({', '.join(given)})"


def _only(names: tuple[str, ...], settings: dict) -> dict:
    """Of `settings` those of `names`, as far as they are plain values."""
    plain = (str, int, float, bool)
    return {name: settings[name] for name in names if isinstance(settings.get(name), plain)}


def _quoted(path: str | Path) -> str:
    return shlex.quote(str(path))
