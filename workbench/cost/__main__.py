"""`python -m workbench.cost MODEL SETTINGS SECONDS`: print the measurement, or its error, as JSON."""

import json
import sys

from ..core.errors import UserError
from ..training import TrainingSettings
from .measure import measure

if __name__ == "__main__":
    model, settings, seconds = sys.argv[1:]
    try:
        print(json.dumps(measure(model, TrainingSettings(**json.loads(settings)), float(seconds))))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
