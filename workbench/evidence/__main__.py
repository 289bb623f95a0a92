"""`python -m workbench.evidence FOLDER`: the process of a detached sweep."""

import sys
from pathlib import Path

from .work import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
