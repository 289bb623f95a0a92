"""Formulas (`VARIANTS`) that turn summed nll and token counts into a score; none runs a model."""

from collections.abc import Callable
from numbers import Real

import datasets
import numpy as np

from ..core import tables
from ..core.errors import UserError, one_of, positive

_NEEDED = ("nll_response", "nll_conditioned", "n_response", "n_conditioned", "score_status")

# Functions of the mean nll (nats per token) of the response alone and after its prompt.
VARIANTS: dict[str, Callable] = {
    "ppl-ratio": lambda alone, conditioned: np.exp(conditioned - alone),  # arXiv 2504.12687, section 3
    "loss-ratio": lambda alone, conditioned: conditioned / alone,  # Cherry_LLM, arXiv 2308.12032
}


def check(variant: str, min_tokens: int, shrinkage: float) -> None:
    """Raise UserError if a setting of `derive` is invalid."""
    one_of("variant", variant, VARIANTS)
    positive("min_tokens", min_tokens)
    if isinstance(shrinkage, bool) or not isinstance(shrinkage, Real) or not 0 <= shrinkage < np.inf:
        raise UserError(
            f"shrinkage={shrinkage!r} must be a number of tokens, at least 0; 0 leaves scores unchanged."
        )


def derive(
    ds: datasets.Dataset, variant: str = "ppl-ratio", *, min_tokens: int = 1, shrinkage: float = 0.0
) -> datasets.Dataset:
    """Recompute `ifd` by another rule, from the summed nll and token counts that `wb.score` adds.

    Runs no model, so any variant of a scored table takes a moment. The sums, counts and `score_status` stay.

    Parameters
    ----------
    variant
        "ppl-ratio" is the IFD of arXiv 2504.12687, section 3: exp(mean nll with the instruction - mean nll
        without it). "loss-ratio" is that of Cherry_LLM (arXiv 2308.12032): the ratio of the two means.
    min_tokens
        A response with fewer scored tokens gets no score, and `score_reason` says so. In a short response a
        single token decides the score.
    shrinkage
        Pulls the scores of short responses towards the typical score. With s tokens of shrinkage, a response
        of n tokens gets score^(n / (n + s)) * typical^(s / (n + s)), where `typical` is the geometric mean of
        all scores, weighted by n. 0 leaves scores unchanged.

    Returns the table with `ifd` (float64, None without a score) and `score_reason` replaced. The settings are
    in `tables.noted(ds, "derive")`. Raises UserError if a setting is invalid or the table has no scores.
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
            reasons[row] = _reason(shorter[row], min_tokens, variant)
    cells = [score if valid else None for score, valid in zip(scores.tolist(), scored, strict=True)]
    columns = {"ifd": cells, "score_reason": reasons}
    ds = tables.with_columns(ds, columns, {"ifd": tables.FLOAT, "score_reason": tables.TEXT})
    settings = {"variant": variant, "min_tokens": min_tokens, "shrinkage": shrinkage}
    return tables.note(ds, "derive", settings)


def _shrunk(scores: np.ndarray, scored: np.ndarray, n: np.ndarray, shrinkage: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(scores)
    typical = np.average(logs[scored], weights=n[scored])
    return np.exp((n * logs + shrinkage * typical) / (n + shrinkage))


def _reason(n: int, min_tokens: int, variant: str) -> str:
    if n < min_tokens:
        return f"its response has {n} scored tokens, fewer than min_tokens={min_tokens}"
    return f"its {variant} is not a finite number"
