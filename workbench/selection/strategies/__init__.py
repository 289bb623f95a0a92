"""The built-in strategies. Importing a module registers its strategies, in the order that menus show."""

from . import baselines, diversity, ifd, parametric  # noqa: F401
