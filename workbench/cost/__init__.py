"""Steps, time and memory of a fine-tuning before it is started."""

from .calibration import calibrate, stored
from .prediction import Calibration, Cost

__all__ = ["Calibration", "Cost", "calibrate", "stored"]
