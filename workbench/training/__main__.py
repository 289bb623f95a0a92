"""`python -m workbench.training FOLDER`: the process of a detached run."""

import sys

from .job import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
