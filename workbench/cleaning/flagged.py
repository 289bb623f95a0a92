"""Leave out the rows that were marked as duplicates or as contaminated."""

from dataclasses import dataclass

import datasets
import pandas as pd

from ..core import tables
from ..core.errors import UserError

FLAGS = ("duplicate_of", "contaminated_by")


@dataclass(frozen=True)
class Unflagged:
    """`dataset` without the flagged rows, and `dropped`: those rows with id and flags."""

    dataset: datasets.Dataset
    dropped: pd.DataFrame


def drop_flagged(ds: datasets.Dataset) -> Unflagged:
    """The rows that no flag column marks; `dropped` lists the others.

    Of near-duplicates the first stays, unless it is contaminated: then all go, since all say nearly the same.
    """
    flags = [name for name in FLAGS if name in ds.column_names]
    if not flags:
        raise UserError(
            f"the dataset has none of the columns {', '.join(FLAGS)}; "
            "make them with wb.mark_duplicates or wb.mark_contaminated first."
        )
    tables.require(ds, ["id"], "wb.load")
    table = ds.select_columns(["id", *flags]).to_pandas()
    flagged = table[flags].notna().any(axis=1).to_numpy()
    return Unflagged(ds.select((~flagged).nonzero()[0]), table[flagged])
