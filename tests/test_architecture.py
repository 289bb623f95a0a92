"""Imports run one way: no module imports from a higher floor, and none in a circle."""

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "workbench"

# From the ground up. A room may know the rooms of the floors below it, and none of its own floor.
FLOORS = [
    ["core"],
    ["data", "coverage", "cleaning", "packing", "lm"],
    ["space", "selection", "evaluation", "complexity"],
    ["training", "figures"],
    ["evidence", "cost"],
    ["study"],
    ["exports"],
    ["widgets", "cli"],
    ["__init__", "__main__"],  # the package's own doors
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# The floors inside evaluation: generate, run (sandbox) and judge know only what lies below them.
EVALUATION_FLOORS = [
    ["sandbox", "samples", "benchmarks", "statistics", "heldout"],
    ["generation", "judging", "reports"],
    ["tasks"],
    ["broken_twins"],
    ["measure", "quick"],
]
MOST_ROOMS, MOST_FLOORS = 18, 8
MOST_BOXES = {"evaluation": 12, "training": 12, "widgets": 18}  # files and sub-rooms side by side
HEAVY = {"torch", "transformers", "datasets", "pandas", "sklearn", "umap", "plotly"}
PUBLIC = {
    *("load", "score", "embed", "cluster", "project", "select", "pack", "finetune", "twins", "evaluate"),
    *("rejected", "Workbench", "models", "suggest_k"),
    *("preset", "export", "calibrate"),
    *("mark_duplicates", "duplicate_groups", "mark_contaminated", "drop_flagged"),
}


def name_of(path: Path) -> str:
    """`data/files.py` -> `data.files`, `data/__init__.py` -> `data`, `__init__.py` -> `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def module(name: str) -> str:
    """The module of this package that `name`, a dotted path inside it, is or lies in."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
        if not name:
            return "__init__"
    return name


def imports(name: str) -> set[str]:
    """All modules of this package that module `name` imports, at its top or inside a function."""
    path, found = MODULES[name], set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            absolute = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*(["workbench", *up] if node.level else []), *filter(None, [node.module])])
            absolute = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {
            module(full.removeprefix("workbench").lstrip("."))
            for full in absolute
            if full.split(".")[0] == "workbench"
        }
    return found - {name}


def room(name: str) -> str:
    return name.partition(".")[0]


def test_the_house_has_few_rooms_and_floors():
    rooms = {room(name) for name in MODULES}
    assert rooms == set(FLOOR)
    arrows = {(room(name), room(other)) for name in MODULES for other in imports(name)}
    arrows = {(above, below) for above, below in arrows if above != below and above not in FLOORS[-1]}
    for level, names in reversed(list(enumerate(FLOORS[:-1], start=1))):
        print(f"{level}  {'  '.join(names)}")
    print(f"{len(rooms) - len(FLOORS[-1])} rooms, {len(FLOORS) - 1} floors, {len(arrows)} arrows")
    assert len(rooms) - len(FLOORS[-1]) <= MOST_ROOMS
    assert len(FLOORS) - 1 <= MOST_FLOORS


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_downward_only(name):
    own = FLOOR[room(name)]
    others = {other for other in imports(name) if room(other) != room(name)}
    assert {other for other in others if FLOOR[room(other)] >= own} == set()


def test_imports_inside_evaluation_run_downward_only():
    floor = {box: level for level, boxes in enumerate(EVALUATION_FLOORS) for box in boxes}
    names = [name for name in MODULES if name.startswith("evaluation.")]
    arrows = {
        (name.split(".")[1], other.split(".")[1])
        for name in names
        for other in imports(name)
        if other.startswith("evaluation.")
    }
    assert {name.split(".")[1] for name in names} == set(floor)
    arrows = {(above, below) for above, below in arrows if above != below}
    assert {(above, below) for above, below in arrows if floor[above] <= floor[below]} == set()


@pytest.mark.parametrize("name", MOST_BOXES)
def test_rooms_stay_small(name):
    boxes = {
        path.stem
        for path in (ROOT / name).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    boxes = sorted(box for box in boxes if not box.startswith("__"))
    print(f"{name}: {len(boxes)} boxes: {' '.join(boxes)}")
    assert len(boxes) <= MOST_BOXES[name]


def test_no_circle_of_modules():
    # A package imports its own parts; that these import it, for its submodules, is no circle.
    graph = {name: {other for other in imports(name) if other != room(name)} for name in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_walk_sees_imports():
    assert {"lm.forward", "lm.models", "core.store"} <= imports("complexity.scoring") | imports(
        "complexity.engine"
    )
    assert {"training.lifecycle", "core.progress", "core.errors"} <= imports("training.run")


def test_importing_the_package_costs_nothing():
    code = "import json, sys, workbench; print(json.dumps([dir(workbench), sorted(sys.modules)]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = json.loads(done.stdout)
    assert set(names) >= PUBLIC
    assert HEAVY & set(loaded) == set()


def test_every_public_name_can_be_had():
    import workbench

    for name in workbench.__all__:
        assert getattr(workbench, name) is not None
        assert name == "__version__" or re.search(rf"\b{name}\b", workbench.__doc__), name
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        workbench.lode  # noqa: B018


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_the_code_is_clean(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
