"""Load any source into a table of `id`, `instruction` and `response`, and report every rejected row.

`sources` opens a source as rows or as an Arrow table, with the readers `files`, `hub` and `functions`.
`columns` identifies the columns of a sample, and `turns` extracts its texts from a row. `loading` separates
usable from rejected rows and builds the table; `arrow` converts its other columns. `rejections` stores the
rejected rows with the dataset, and `unused` reports parts of usable rows that the texts do not contain.
"""

from .loading import load
from .rejections import RejectedRowsWarning, rejected
from .sources import bundled_dir
from .unused import UnusedPartsWarning

__all__ = ["RejectedRowsWarning", "UnusedPartsWarning", "bundled_dir", "load", "rejected"]
