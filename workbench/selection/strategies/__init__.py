"""The built-in selection strategies. An import registers them, in the order that menus show."""

from . import bands, baselines, diversity, ifd, parametric  # noqa: F401
