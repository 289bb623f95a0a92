"""Data-efficient fine-tuning of code language models (arXiv 2504.12687), in a notebook or headless.

    import workbench as wb

    ds = wb.load("data/instructions.jsonl")
    ds = wb.project(wb.cluster(wb.embed(wb.score(ds))))
    sel = wb.select(ds, ratio=0.4)
    run = wb.finetune(sel.dataset)

A dataset is a `datasets.Dataset`, and each stage takes a table and returns it with more columns. Names by
stage, in the order in which they are used:

    data        load, rejected, first_look
    cleaning    inspect, mark_duplicates, duplicate_groups, mark_contaminated, drop_flagged
    complexity  score, derive, explain, compare_scorers
    clusters    embed, cluster, suggest_k, cluster_names, project
    selection   select, strategy, Explorer, compare
    packing     pack
    training    calibrate, finetune, attach
    evidence    sweep, Sweep
    evaluation  evaluate, twins
    studies     Recipe, preset, export
    notebook    Workbench, and the modules widgets, figures, models

The same stages run without a notebook: `workbench --help`. Names are imported on first use, so importing this
package takes no time.
"""

from importlib import import_module

__version__ = "0.1.0"

# Public name -> the module that defines it.
_HOMES = {
    # data
    "load": "data",
    "rejected": "data",
    "first_look": "study.first_look",
    # cleaning
    "inspect": "cleaning.inspection",
    "mark_duplicates": "cleaning.duplicates",
    "duplicate_groups": "cleaning.duplicates",
    "mark_contaminated": "cleaning.contamination",
    "drop_flagged": "cleaning.flagged",
    # complexity
    "score": "complexity",
    "derive": "complexity",
    "explain": "complexity",
    "compare_scorers": "study.scorer_agreement",
    # clusters
    "embed": "space.embedding",
    "cluster": "space.clustering",
    "suggest_k": "space.granularity",
    "cluster_names": "space.naming",
    "project": "space.projection",
    # selection
    "select": "selection",
    "strategy": "selection",
    "Explorer": "selection",
    "compare": "selection",
    # packing
    "pack": "packing",
    # training
    "calibrate": "cost",
    "finetune": "training",
    "attach": "training",
    # evidence
    "sweep": "evidence",
    "Sweep": "evidence",
    # evaluation
    "twins": "evaluation",
    "evaluate": "evaluation",
    # studies
    "Recipe": "study.recipe",
    "preset": "study.presets",
    "export": "exports",
    # notebook
    "Workbench": "widgets",
}
_MODULES = {"widgets": "widgets", "figures": "figures", "models": "lm.models"}

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
