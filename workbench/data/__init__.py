"""Anything -> table of `id`, `instruction`, `response`; every rejected row named with its place and reason.

`sources` opens what was given, as rows or as an Arrow table (`files`, `hub` and `functions` do the reading);
`columns` finds instruction and response in a row; `loading` sifts the rows and builds the table, with `arrow`
for its other columns; `rejections` keeps with the dataset what was left out of it.
"""

from .loading import load
from .rejections import RejectedRowsWarning, rejected
from .sources import bundled_dir

__all__ = ["RejectedRowsWarning", "bundled_dir", "load", "rejected"]
