"""How much a selection may keep: a ratio, a number of rows, or a number of training tokens."""

from dataclasses import dataclass
from numbers import Real

from ..core.errors import UserError, positive, shown

DEFAULT_RATIO = 0.4  # the paper's headline setting (arXiv 2504.12687)


@dataclass(frozen=True)
class Budget:
    """A ratio in (0, 1], a number of rows, or a number of training tokens; the other two are None."""

    ratio: float | None
    rows: int | None = None
    tokens: int | None = None

    def most_rows(self, n: int) -> int:
        """The most rows this budget can keep out of `n`.

        A ratio is rounded down as in the paper. A token budget may allow all `n`.
        """
        if self.ratio is not None:
            return int(n * self.ratio)
        return n if self.rows is None else min(n, self.rows)


def budget_of(ratio: float | None, rows: int | None, tokens: int | None) -> Budget:
    """The budget from the arguments of `wb.select`; a ratio of 0.4 if all are None.

    Raises UserError if more than one is given or if one is out of range.
    """
    amounts = {"ratio": ratio, "rows": rows, "tokens": tokens}
    amounts = {name: value for name, value in amounts.items() if value is not None}
    if len(amounts) > 1:
        listed = " and ".join(f"{name}={value}" for name, value in amounts.items())
        raise UserError(f"{listed} are {len(amounts)} budgets; give one of them.")
    for name, value in (("rows", rows), ("tokens", tokens)):
        if value is not None:
            positive(name, value)
            return Budget(None, **{name: int(value)})
    return Budget(check_ratio(DEFAULT_RATIO if ratio is None else ratio))


def check_ratio(ratio: float) -> float:
    """Return `ratio` as a float. Raises UserError unless it is a number in (0, 1]."""
    if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 0 < ratio <= 1:
        raise UserError(
            f"ratio={shown(ratio)} must be above 0 and at most 1: 0.4 keeps 40 % of the eligible rows."
        )
    return float(ratio)
