"""Data-efficient fine-tuning of code language models, in a notebook and without one.

    import workbench as wb
    ds = wb.load("data/instructions.jsonl")
    ds = wb.project(wb.cluster(wb.embed(wb.score(ds))))
    sel = wb.select(ds, ratio=0.4)
    run = wb.finetune(sel.dataset)

Every stage is a function from a table to a table with a few more columns. The method is that of
arXiv 2504.12687. Names below are imported when first used, so that importing this package costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "load": "data",
    "rejected": "data",
    "first_look": "bundle",
    "score": "complexity",
    "derive": "complexity",
    "explain": "complexity",
    "embed": "embedding",
    "cluster": "clustering",
    "suggest_k": "granularity",
    "cluster_names": "naming",
    "project": "projection",
    "mark_duplicates": "duplicates",
    "duplicate_groups": "duplicates",
    "mark_contaminated": "contamination",
    "drop_flagged": "flagged",
    "select": "selection",
    "compare_scorers": "scorers",
    "strategy": "selection",
    "Explorer": "selection",
    "compare": "comparison",
    "pack": "packing",
    "finetune": "training",
    "attach": "training",
    "calibrate": "cost",
    "evaluate": "evaluation",
    "Recipe": "recipe",
    "preset": "presets",
    "export": "exports",
    "Workbench": "widgets",
}
_MODULES = ("figures", "models", "widgets")

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
