"""`python -m workbench.training FOLDER`: the process of a detached run."""

import sys
from pathlib import Path

from .folder import RunFolder
from .job import main

if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1]))))
