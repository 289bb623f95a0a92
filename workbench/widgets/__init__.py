"""Interactive panels for notebooks. They compute nothing themselves: they call the functions of `workbench`.

`Workbench` is the whole dashboard. Its parts also work alone, on a shared `State`:

>>> state = wb.widgets.State(ds, ratio=0.3)
>>> wb.widgets.Controls(state), wb.widgets.Numbers(state), wb.widgets.PackingPreview(state)
"""

from .controls import Controls
from .cost import CostPanel
from .dashboard import Workbench
from .evaluation import EvaluationPanel
from .export import ExportPanel
from .numbers import Numbers
from .rows import Inspector, InspectPanel
from .state import Settings, State
from .sweep import SweepPanel
from .tasks import ErrorPanel
from .training import RunPanel, TrainingPanel
from .views import Bars, Map, PackingPreview

__all__ = [
    "Bars",
    "Controls",
    "CostPanel",
    "ErrorPanel",
    "EvaluationPanel",
    "ExportPanel",
    "InspectPanel",
    "Inspector",
    "Map",
    "Numbers",
    "PackingPreview",
    "RunPanel",
    "Settings",
    "State",
    "SweepPanel",
    "TrainingPanel",
    "Workbench",
]
