"""Predict the steps, time and memory of a fine-tuning run before it starts."""

from .calibration import calibrate, stored
from .prediction import Calibration, Cost

__all__ = ["Calibration", "Cost", "calibrate", "stored"]
