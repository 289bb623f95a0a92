"""Drop the rows marked as near-duplicates or as contaminated."""

from dataclasses import dataclass

import datasets
import pandas as pd

from ..core import tables
from ..core.errors import UserError

FLAGS = ("duplicate_of", "contaminated_by")


@dataclass(frozen=True, eq=False)
class Unflagged:
    """The result of `drop_flagged`: the remaining rows and the dropped ones."""

    dataset: datasets.Dataset
    dropped: pd.DataFrame


def drop_flagged(ds: datasets.Dataset) -> Unflagged:
    """Drop the rows marked by `wb.mark_duplicates` or `wb.mark_contaminated`.

    A row is dropped if `duplicate_of` or `contaminated_by` is not null. So the first row of a group of
    near-duplicates stays, unless it is contaminated; then the whole group is dropped.

    Returns an `Unflagged` with the attributes

    - `dataset`: the other rows, in their order, with all columns;
    - `dropped`: a DataFrame of the dropped rows with `id` and the flag columns, as the reason.

    Raises UserError if the dataset has neither flag column or no column `id`.
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
