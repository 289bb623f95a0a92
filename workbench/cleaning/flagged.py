"""Flags: columns that say why a row is better left out, and how to leave flagged rows out."""

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import pandas as pd

from ..core import tables
from ..core.errors import UserError, one_of, shown

# Rule -> its column, which holds the reason in flagged rows and is null in others.
FLAGS = {
    "exact-duplicate": "flag_copy_of",
    "near-duplicate": "duplicate_of",
    "leak": "contaminated_by",
    "empty": "flag_empty",
    "refusal": "flag_refusal",
    "no-code": "flag_no_code",
    "language": "flag_language",
    "length": "flag_length",
    "turns": "flag_turns",
}
MARKED = ("near-duplicate", "leak")  # rules whose columns wb.mark_duplicates and wb.mark_contaminated make


@dataclass(frozen=True, eq=False)
class Unflagged:
    """The remaining rows (`dataset`), and the dropped ones with the reasons (`dropped`)."""

    dataset: datasets.Dataset
    dropped: pd.DataFrame


def check_rules(rules: Sequence[str], parameter: str = "rules") -> tuple[str, ...]:
    """Return `rules` without repetitions. Raises UserError unless they are a list of names of rules."""
    if isinstance(rules, str) or not isinstance(rules, (list, tuple, set, frozenset, dict)):
        raise UserError(f"{parameter}={shown(rules)} must be a list with some of {', '.join(FLAGS)}.")
    for rule in rules:
        one_of(parameter, rule, FLAGS)
    return tuple(dict.fromkeys(rules))


def drop_flagged(ds: datasets.Dataset, rules: Sequence[str] | None = None) -> Unflagged:
    """Drop the rows marked by `wb.mark_duplicates`, `wb.mark_contaminated` or `wb.inspect`.

    A row is dropped if the column of one of the rules is not null. So the first row of a group of
    near-duplicates stays, unless it is contaminated; then the whole group is dropped.

    Parameters
    ----------
    rules : names of rules of `wb.inspect`, whose columns `wb.inspect(ds).marked` has. Default: those of
        "near-duplicate" (column `duplicate_of`) and "leak" (`contaminated_by`) that the dataset has.

    Returns an `Unflagged` with the attributes

    - `dataset`: the other rows, in their order, with all columns;
    - `dropped`: a DataFrame of the dropped rows with `id` and the flag columns, as the reason.

    Raises UserError if the dataset does not have the columns or no column `id`, or if a rule is unknown.
    """
    if rules is None:
        flags = [FLAGS[rule] for rule in MARKED if FLAGS[rule] in ds.column_names]
        if not flags:
            raise UserError(
                f"the dataset has none of the columns {', '.join(FLAGS[rule] for rule in MARKED)}; "
                "make them with wb.mark_duplicates or wb.mark_contaminated first."
            )
    else:
        flags = [FLAGS[rule] for rule in check_rules(rules)]
        tables.require(ds, flags, "wb.inspect(ds).marked")
    tables.require(ds, ["id"], "wb.load")
    table = ds.select_columns(["id", *flags]).to_pandas()
    flagged = table[flags].notna().any(axis=1).to_numpy()
    return Unflagged(ds.select((~flagged).nonzero()[0]), table[flagged])
