"""The scores that follow from a row's summed nll and token counts; nothing here runs a model."""

from collections.abc import Callable
from numbers import Real

import datasets
import numpy as np

from ..core import tables
from ..core.errors import UserError, one_of, positive

_NEEDED = ("nll_response", "nll_conditioned", "n_response", "n_conditioned", "score_status")

# From the mean nll (nats per token) of the bare response and of the prompted one.
VARIANTS: dict[str, Callable] = {
    "ppl-ratio": lambda alone, conditioned: np.exp(conditioned - alone),  # arXiv 2504.12687, section 3
    "loss-ratio": lambda alone, conditioned: conditioned / alone,  # Cherry_LLM, arXiv 2308.12032
}


def check(variant: str, min_tokens: int, shrinkage: float) -> None:
    """Raise unless these are settings of `derive`."""
    one_of("variant", variant, VARIANTS)
    positive("min_tokens", min_tokens)
    if isinstance(shrinkage, bool) or not isinstance(shrinkage, Real) or not 0 <= shrinkage < np.inf:
        raise UserError(
            f"shrinkage={shrinkage!r} must be a number of tokens, 0 or more; 0 leaves scores as they are."
        )


def derive(
    ds: datasets.Dataset, variant: str = "ppl-ratio", *, min_tokens: int = 1, shrinkage: float = 0.0
) -> datasets.Dataset:
    """`ds` (from `wb.score`) with its `ifd` by another rule, from what is stored of each row.

    `variant` is "ppl-ratio", the paper's, or "loss-ratio", Cherry_LLM's. Below `min_tokens` scored tokens of
    the response there is no score, and `score_reason` says so: one token decides a short response's. With
    `shrinkage` of s tokens, the score of a response of n tokens becomes the weighted geometric mean
    score^(n / (n + s)) * typical^(s / (n + s)), where `typical` is that of all rows, each weighted by its n.
    """
    check(variant, min_tokens, shrinkage)
    tables.require(ds, _NEEDED, "wb.score")
    nll = [tables.array(ds, name).astype(float) for name in ("nll_response", "nll_conditioned")]
    n = [tables.array(ds, name) for name in ("n_response", "n_conditioned")]
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = VARIANTS[variant](nll[0] / n[0], nll[1] / n[1])
    shorter = np.minimum(*n)
    scored = np.isfinite(scores) & (shorter >= min_tokens)
    if shrinkage and scored.any():
        scores = _shrunk(scores, scored, shorter, shrinkage)
    reasons = ds["score_reason"][:] if "score_reason" in ds.column_names else [None] * len(ds)
    for row, status in enumerate(ds["score_status"][:]):
        if status in ("ok", "truncated") and not scored[row]:
            reasons[row] = _why_not(shorter[row], min_tokens, variant)
    cells = [score if known else None for score, known in zip(scores.tolist(), scored, strict=True)]
    columns = {"ifd": cells, "score_reason": reasons}
    ds = tables.with_columns(ds, columns, {"ifd": tables.FLOAT, "score_reason": tables.TEXT})
    made = {"variant": variant, "min_tokens": min_tokens, "shrinkage": shrinkage}
    return tables.note(ds, "derive", made)


def _shrunk(scores: np.ndarray, scored: np.ndarray, n: np.ndarray, shrinkage: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(scores)
    typical = np.average(logs[scored], weights=n[scored])
    return np.exp((n * logs + shrinkage * typical) / (n + shrinkage))


def _why_not(n: int, min_tokens: int, variant: str) -> str:
    if n < min_tokens:
        return f"its response has {n} scored tokens, fewer than min_tokens={min_tokens}"
    return f"its {variant} is not a finite number"
