"""The cleaning report: what `wb.inspect` returns."""

from dataclasses import dataclass, field
from functools import cached_property
from html import escape

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa

from ..core import tables
from ..core.errors import UserError, shown
from .flagged import FLAGS, Unflagged, check_rules

_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Flagged:
    """The rows that one rule flags.

    `rows` is int64 [m], ascending, and `reasons` says why, row by row. `meaning` describes the rule on this
    dataset. `not_checked` is the reason why the rule could not be applied, None if it was.
    """

    meaning: str
    rows: np.ndarray
    reasons: list[str]
    not_checked: str | None = None


@dataclass(frozen=True, eq=False)
class Inspection:
    """The cleaning report of a dataset. `wb.inspect` makes it; `wb.figures.inspection` draws it.

    Attributes
    ----------
    source : the dataset.
    flags : rule -> `Flagged`.
    lengths : a DataFrame with the minimum, the 5 %, 50 % and 95 % quantiles, the maximum and the sum of
        `instruction` and `response` in characters and, if they are known, of `tokens`.
    roles : a DataFrame with the number of `turns` and of `rows` by role, with the responses; None if no row
        has several turns.
    histogram : counts and edges (in characters, or tokens if they are known) of the lengths of rows.
    """

    source: datasets.Dataset
    flags: dict[str, Flagged]
    lengths: pd.DataFrame
    roles: pd.DataFrame | None = None
    histogram: tuple[np.ndarray, np.ndarray, str] = field(repr=False, default=None)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line per rule: `rule`, `rows`, `share` (0 to 1), `meaning`, `examples` (ids).

        `rows` and `share` are missing for a rule that could not be checked, and `meaning` then says why.
        """
        lines = []
        for rule, flagged in self.flags.items():
            checked = flagged.not_checked is None
            lines.append(
                {
                    "rule": rule,
                    "rows": len(flagged.rows) if checked else None,
                    "share": len(flagged.rows) / max(1, len(self.source)) if checked else None,
                    "meaning": flagged.meaning if checked else f"not checked: {flagged.not_checked}",
                    "examples": ", ".join(self._ids(flagged.rows[:_EXAMPLES])),
                }
            )
        columns = ["rule", "rows", "share", "meaning", "examples"]
        return pd.DataFrame(lines, columns=columns).astype({"rows": "Int64", "share": "Float64"})

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The flagged rows: `row` (its number, from 0), `id`, and per rule the reason or None."""
        rows = np.flatnonzero(self.mask(*self.flags))
        columns = {"row": rows, "id": self._ids(rows)}
        for rule, flagged in self.flags.items():
            cells = np.full(len(rows), None, object)
            cells[np.searchsorted(rows, flagged.rows)] = flagged.reasons
            columns[rule] = pd.Series(cells, dtype=object)  # else None becomes NaN
        return pd.DataFrame(columns)

    @cached_property
    def marked(self) -> datasets.Dataset:
        """The dataset with a column per checked rule, null in rows that are not flagged.

        The columns are `duplicate_of`, `contaminated_by`, and `flag_RULE` for the others; `wb.drop_flagged`
        takes such a table, too.
        """
        columns = {}
        for rule, flagged in self.flags.items():
            if flagged.not_checked is None:
                cells = np.full(len(self.source), None, object)
                cells[flagged.rows] = flagged.reasons
                columns[FLAGS[rule]] = pa.array(cells, pa.string())
        return tables.with_columns(self.source, columns, dict.fromkeys(columns, tables.TEXT))

    def mask(self, *rules: str) -> np.ndarray:
        """Return which rows one of `rules` flags, bool [n]. Raises UserError for an unknown rule."""
        mask = np.zeros(len(self.source), bool)
        for rule in check_rules(rules):
            if rule not in self.flags:
                raise UserError(f"rule={shown(rule)} is not in this report; it has {', '.join(self.flags)}.")
            mask[self.flags[rule].rows] = True
        return mask

    def drop(self, *rules: str) -> Unflagged:
        """Leave out the rows that one of `rules` flags; the others keep their order and columns.

        Returns an `Unflagged`: `.dataset`, and `.dropped`, a DataFrame with `id` and the reason by rule.
        Raises UserError if no rule is named, a rule is unknown, or a rule could not be checked.
        """
        if not rules:
            raise UserError(f"name the rules whose rows to drop: some of {', '.join(self.flags)}.")
        mask = self.mask(*rules)
        for rule in rules:
            if self.flags[rule].not_checked:
                raise UserError(f"rule={rule!r} was not checked: {self.flags[rule].not_checked}")
        dropped = self.rows[mask[self.rows["row"].to_numpy()]]
        dropped = dropped[["id", *dict.fromkeys(rules)]].reset_index(drop=True)
        return Unflagged(self.source.select(np.flatnonzero(~mask)), dropped)

    def _ids(self, rows: np.ndarray) -> list[str]:
        if "id" not in self.source.column_names:
            return [str(row) for row in rows]
        return self.source.select_columns(["id"]).select(rows)["id"][:]

    def __repr__(self) -> str:
        table = self.table.drop(columns="examples").to_string(index=False, formatters=_FORMS, na_rep="-")
        flagged = int(self.mask(*self.flags).sum())
        head = f"{len(self.source):,} rows, {flagged:,} with a flag; none is left out (see .drop)"
        parts = [head, table, self.lengths.to_string(float_format="{:,.0f}".format)]
        if self.roles is not None:
            parts.append(self.roles.to_string())
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        table = self.table.copy()
        table["meaning"] = table["meaning"].map(escape)
        table["examples"] = table["examples"].map(escape)
        parts = [table.to_html(index=False, border=0, formatters=_FORMS, na_rep="-", escape=False)]
        parts.append(self.lengths.to_html(border=0, float_format="{:,.0f}".format))
        if self.roles is not None:
            parts.append(self.roles.to_html(border=0))
        flagged = int(self.mask(*self.flags).sum())
        head = f"<p>{len(self.source):,} rows, {flagged:,} with a flag; none is left out</p>"
        return head + "".join(parts)


_FORMS = {
    "rows": lambda n: "-" if pd.isna(n) else f"{n:,}",
    "share": lambda share: "-" if pd.isna(share) else f"{share:.2%}",
}
