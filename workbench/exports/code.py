"""Code, recipe and commands that repeat a selection elsewhere.

They start from where the rows were loaded, if the table still has exactly those rows, and repeat the stages
recorded in it; otherwise from the table itself, saved to a file.
"""

import inspect
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import datasets

from ..complexity import FEATURES, derive, score
from ..core import tables
from ..core.errors import UserError
from ..data import load
from ..selection import SETTINGS, Selection
from ..space.clustering import cluster
from ..space.embedding import embed
from ..study.recipe import DATA_FIELDS, STAGE_FIELDS, Recipe
from ..training import TrainingSettings


def _parameters(stage: Callable) -> tuple[str, ...]:
    return tuple(inspect.signature(stage).parameters)


# The settings of each stage that code repeats: its parameters after the table. A record may come from an
# untrusted file, so nothing else of it goes into code.
_SETTINGS = {stage.__name__: _parameters(stage)[1:] for stage in (score, derive, embed, cluster)}
# The columns that each stage adds.
_COLUMNS = {
    "score": (*FEATURES, "n_tokens"),
    "derive": ("ifd",),
    "embed": ("embedding",),
    "cluster": ("cluster",),
}
_REQUIRED_ORDER = (("score", "derive"), ("embed", "cluster"))


@dataclass(frozen=True)
class Origin:
    """How to load and compute a table again.

    `arguments` are those of `wb.load`, None for `wb.first_look`. `stages` maps the name of each later stage
    to its settings.
    """

    arguments: dict | None
    stages: dict[str, dict]


def origin_of(ds: datasets.Dataset, reads: Iterable[str] = ()) -> Origin | None:
    """The origin of `ds`, or None if it cannot be repeated.

    That is so if the source is unknown, if rows were removed, added or moved since, or if the recorded stages
    do not explain the columns of `ds`. `reads` are further columns that must come from the source or a stage.
    """
    notes = tables.notes(ds)
    loaded = notes.get("load", {})
    if loaded.get("ids") != tables.ids_digest(ds) or not ("source" in loaded or "first_look" in loaded):
        return None
    order = list(notes)
    later = [stage for stage in order[order.index("load") + 1 :] if stage in _SETTINGS]
    for first, second in _REQUIRED_ORDER:
        if {first, second} <= set(later) and later.index(second) < later.index(first):
            return None
    explained = {*loaded.get("columns", ()), *(column for stage in later for column in _COLUMNS[stage])}
    computed = {column for columns in _COLUMNS.values() for column in columns}
    if not {*reads, *(computed & set(ds.column_names))} <= explained:
        return None
    stages = {stage: _plain(_SETTINGS[stage], notes[stage]) for stage in later}
    return Origin(_plain(_parameters(load), loaded) if "source" in loaded else None, stages)


def as_code(selection: Selection, pack: dict | None = None, table: str | Path | None = None) -> str:
    """Python code that repeats `selection` and raises if the rows differ.

    `pack` are settings of `wb.pack` for a last line. The code starts from `table`, a file with all rows
    written by `tables.write_parquet`, or else from the rows' origin; raises UserError if that is unknown.
    """
    settings = {name: value for name, value in selection.settings.items() if value is not None}
    report = selection.report
    lines = [
        "import workbench as wb",
        "from workbench.core import tables",
        "",
        f"# keeps {report.n_kept:,} of {report.n_rows:,} rows",
        *(
            [_call("ds", "load", {"source": str(table)})]
            if table
            else _from_origin(selection.source, ranked_by(selection))
        ),
        _call("sel", "select", settings, "ds"),
        f"rows = {tables.rows_sha256(selection.dataset)!r}",
        'assert tables.rows_sha256(sel.dataset) == rows, "the selected rows differ"',
    ]
    if pack:
        lines.append(_call("plan", "pack", pack, "sel.dataset"))
    return "\n".join(lines) + "\n"


def as_recipe(selection: Selection, pack: dict | None = None, table: str | Path | None = None) -> Recipe:
    """The recipe with which `workbench select` keeps the rows of `selection`, and `finetune` packs them.

    Its data are `table`, or else the rows' origin; raises UserError unless that is `replayable`.
    """
    settings, notes = selection.settings, tables.notes(selection.source)
    if table is None and not replayable(selection.source, ranked_by(selection)):
        raise UserError(
            "a recipe cannot load these rows from their origin; save the table and pass its file."
        )
    values = {
        "data": str(table or notes["load"]["source"]),
        **({} if table else _plain(DATA_FIELDS, notes["load"])),
        "strategy": settings["strategy"],
        "keep_rows": settings["rows"],
        "keep_tokens": settings["tokens"],
        "max_ifd": float(settings["max_ifd"]),
        "seed": settings["seed"],
        **{name: settings[name] for name in SETTINGS if name in settings},
        **{name: tuple(settings[name]) for name in ("keep", "drop") if name in settings},
        **{name: settings[name] for name in ("where",) if name in settings},
    }
    if settings["ratio"]:
        values["ratio"] = settings["ratio"]
    for stage, names in STAGE_FIELDS.items():
        recorded = _plain(tuple(names), notes.get(stage, {}))
        values |= {names[parameter]: value for parameter, value in recorded.items()}
    training = {name: value for name, value in (pack or {}).items() if value is not None}
    training |= _plain(("template",), notes.get("score", {}))
    return Recipe(**values, training=TrainingSettings(**training))


def ranked_by(selection: Selection) -> list[str]:
    """The column that ranks, as a list; empty if the strategy reads none."""
    return [selection.settings["by"]] if "by" in selection.settings else []


def replayable(ds: datasets.Dataset, reads: Iterable[str] = ()) -> bool:
    """Whether a recipe alone, without a file of the table, can compute `ds` and its columns `reads` again."""
    origin = origin_of(ds, reads)
    if origin is None or origin.arguments is None:
        return False
    embedded = origin.stages.get("embed", {})
    return embedded.get("dtype", "float32") == "float32" and embedded.get("max_length") is None


def as_command(recipe: str | Path, output: str | Path) -> str:
    """The commands that select with `recipe` and train on the kept rows."""
    recipe, output = (shlex.quote(str(path)) for path in (recipe, output))
    return (
        f"workbench select --recipe {recipe} --output {output}\n"
        f"workbench finetune --recipe {recipe} --data {output} --output runs/tuned\n"
    )


def _from_origin(ds: datasets.Dataset, reads: Iterable[str] = ()) -> list[str]:
    """Lines of code that compute `ds`, with its columns `reads`, again."""
    origin = origin_of(ds, reads)
    if origin is None:
        raise UserError(
            "the origin of these rows is unknown or they have changed; save the table and pass its file."
        )
    first = "ds = wb.first_look()" if origin.arguments is None else _call("ds", "load", origin.arguments)
    return [first, *(_call("ds", stage, settings, "ds") for stage, settings in origin.stages.items())]


def _call(variable: str, function: str, settings: dict, *first: str) -> str:
    """`variable = wb.function(first, name=value)`; values are written with repr, never as code."""
    settings = dict(settings)
    if "source" in settings:
        first = (repr(settings.pop("source")),)
    arguments = [*first, *(f"{name}={value!r}" for name, value in settings.items() if value is not None)]
    return f"{variable} = wb.{function}({', '.join(arguments)})"


def _plain(names: tuple[str, ...], settings: dict) -> dict:
    """The settings in `names` whose values are strings, numbers or booleans."""
    plain = (str, int, float, bool)
    return {name: settings[name] for name in names if isinstance(settings.get(name), plain)}
