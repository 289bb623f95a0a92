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
    "first_look": "study.first_look",
    "score": "complexity",
    "derive": "complexity",
    "explain": "complexity",
    "embed": "space.embedding",
    "cluster": "space.clustering",
    "suggest_k": "space.granularity",
    "cluster_names": "space.naming",
    "project": "space.projection",
    "mark_duplicates": "cleaning.duplicates",
    "duplicate_groups": "cleaning.duplicates",
    "mark_contaminated": "cleaning.contamination",
    "drop_flagged": "cleaning.flagged",
    "select": "selection",
    "compare_scorers": "study.scorer_agreement",
    "strategy": "selection",
    "Explorer": "selection",
    "compare": "selection",
    "pack": "packing",
    "finetune": "training",
    "attach": "training",
    "calibrate": "cost",
    "evaluate": "evaluation",
    "Recipe": "study.recipe",
    "preset": "study.presets",
    "export": "exports",
    "Workbench": "widgets",
}
_MODULES = {"figures": "figures", "models": "lm.models", "widgets": "widgets"}

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
