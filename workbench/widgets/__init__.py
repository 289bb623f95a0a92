"""Figures with controls; they hold no numbers of their own and call the method's functions.

`Workbench` is all of it. Each part also stands alone on a `State`:

>>> state = wb.widgets.State(ds, ratio=0.3)
>>> wb.widgets.Controls(state), wb.widgets.Numbers(state), wb.widgets.PackingPreview(state)
"""

from .controls import Controls
from .cost import CostPanel
from .dashboard import Workbench
from .evaluation import EvaluationPanel
from .export import ExportPanel
from .inspector import Inspector
from .numbers import Numbers
from .state import Settings, State
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
    "Inspector",
    "Map",
    "Numbers",
    "PackingPreview",
    "RunPanel",
    "Settings",
    "State",
    "TrainingPanel",
    "Workbench",
]
