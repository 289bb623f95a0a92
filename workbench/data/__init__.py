"""Load any source into a table of `id`, `instruction` and `response`, and report every rejected row.

`sources` opens a source as rows or as an Arrow table, with the readers `files`, `hub` and `functions`.
`columns` extracts instruction and response from a row. `loading` separates usable from rejected rows and
builds the table; `arrow` converts its other columns. `rejections` stores the rejected rows with the dataset.
"""

from .loading import load
from .rejections import RejectedRowsWarning, rejected
from .sources import bundled_dir

__all__ = ["RejectedRowsWarning", "bundled_dir", "load", "rejected"]
