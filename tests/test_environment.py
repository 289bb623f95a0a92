"""The declared dependencies, and the files at the top of the repository."""

import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import workbench

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = {each.name.lower(): each for each in map(Requirement, PROJECT["dependencies"])}
EXTRAS = {
    extra: [Requirement(text) for text in texts] for extra, texts in PROJECT["optional-dependencies"].items()
}

# The versions preinstalled on Colab in August 2026. A lower bound above one of them would replace it.
COLAB = {
    "accelerate": "1.14.0",
    "anywidget": "0.9.21",
    "datasets": "4.0.0",
    "fsspec": "2025.3.0",  # the newest that its datasets allows
    "ipywidgets": "7.7.1",
    "numba": "0.61.0",  # the oldest that supports Colab's NumPy
    "numpy": "2.1.3",
    "pandas": "2.2.3",
    "peft": "0.20.0",
    "platformdirs": "4.11.3",
    "plotly": "5.24.1",
    "psutil": "5.9.5",
    "pygments": "2.21.0",
    "pyyaml": "6.0.3",
    "scikit-learn": "1.6.1",
    "scipy": "1.14.1",  # the oldest that supports Colab's NumPy
    "sentence-transformers": "5.7.0",
    "torch": "2.11.0",
    "tqdm": "4.67.3",
    "transformers": "5.15.0",
    "umap-learn": "0.5.12",
}
TOP_LEVEL = {
    *("notebooks", "workbench", "environment.yml", "tests", "README.md", "data"),
    *("pyproject.toml", "LICENSE"),
}
ON_CONDA = {"torch": "pytorch"}  # packages with another name on conda-forge


@pytest.fixture(scope="module")
def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


@pytest.fixture(scope="module")
def conda_packages(conda) -> dict[str, Requirement]:
    """The conda packages of environment.yml, by name."""
    requirements = [Requirement(text) for text in conda["dependencies"] if isinstance(text, str)]
    return {requirement.name: requirement for requirement in requirements}


@pytest.mark.parametrize("name", sorted(COLAB))
def test_colab_keeps_its_preinstalled_version(name):
    assert CORE[name].specifier.contains(COLAB[name])


def test_every_core_dependency_has_a_lower_bound_and_no_upper_bound():
    for requirement in CORE.values():
        assert [clause.operator for clause in requirement.specifier] == [">="], requirement


def test_colab_lacks_only_these_packages():
    assert CORE.keys() - COLAB.keys() == {"datasketch", "filelock", "gguf"}


def test_environment_yml_uses_conda_forge_only(conda):
    assert conda["channels"] == ["conda-forge", "nodefaults"]


def test_environment_yml_installs_this_package(conda):
    (from_pip,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    (package,) = from_pip
    path, _, extras = package.removeprefix("-e ").partition("[")
    assert path == "."
    assert set(extras.rstrip("]").split(",")) <= EXTRAS.keys()


def test_environment_yml_requires_the_same_python(conda_packages):
    assert conda_packages["python"].specifier == SpecifierSet(PROJECT["requires-python"])


def test_environment_yml_agrees_with_pyproject(conda_packages):
    requirements = CORE | {each.name.lower(): each for each in EXTRAS["lab"]}
    specifiers = {ON_CONDA.get(name, name): each.specifier for name, each in requirements.items()}
    packages = {
        name: each.specifier for name, each in conda_packages.items() if name not in ("python", "pip")
    }
    assert packages == {name: specifiers.get(name) for name in packages}


def test_the_package_has_the_version_of_pyproject():
    assert workbench.__version__ == PROJECT["version"]


def test_the_top_level_holds_only_the_expected_files():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.partition("/")[0] for line in listed.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL
