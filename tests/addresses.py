"""The addresses in README.md, the notebooks and pyproject.toml, all derived from pyproject.toml.

`Repository` in [project.urls] and `version` are the one source. After changing either, run

    python tests/addresses.py

to rewrite Colab badges, install commands and the Issues link. `test_notebooks.py` checks that a rewrite would
change nothing. Addresses must be on GitHub, because Colab opens notebooks from there.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = ROOT / "pyproject.toml"
FILES = [ROOT / "README.md", PYPROJECT, *sorted((ROOT / "notebooks").glob("*.ipynb"))]


def patterns(repository: str, version: str) -> dict[str, str]:
    """Regular expression of each kind of address -> the text that replaces it."""
    owner_and_name = repository.removeprefix("https://github.com/")
    colab = "https://colab.research.google.com/github/"
    return {
        rf"{re.escape(colab)}[^\s\"]+?/blob/[^/\s]+/": f"{colab}{owner_and_name}/blob/v{version}/",
        r"git\+https://[^\s\"@\\]+@[^\s\"\\]+": f"git+{repository}@v{version}",
        r"git clone https://\S+": f"git clone {repository}",
        r"(?m)^Issues = \".*\"$": f'Issues = "{repository}/issues"',
    }


def rewritten(text: str) -> str:
    """`text` with every address as pyproject.toml has it."""
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    for pattern, address in patterns(project["urls"]["Repository"], project["version"]).items():
        text = re.sub(pattern, address, text)
    return text


if __name__ == "__main__":
    for path in FILES:
        text = path.read_text("utf-8")
        if (new := rewritten(text)) != text:
            path.write_text(new, "utf-8")
            print(f"{path.relative_to(ROOT)}: addresses rewritten")
