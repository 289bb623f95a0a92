"""All coverage numbers of one selection."""

from dataclasses import dataclass, fields

from . import nearest


@dataclass(frozen=True)
class Coverage:
    """What a selection keeps of the whole; null where a column is missing or nothing is kept.

    Exact on all rows: `mmd` (with its random features), `topic_divergence`, `language_divergence` and
    `length_divergence` (Jensen-Shannon, bits), `mean_tokens_all` and `mean_tokens_kept`, `tokens_kept`.
    Against all kept rows, but for `n_anchors` anchors only (all rows, or a seeded sample of them): `radius`,
    the largest cosine distance of an anchor to its nearest kept row, its quantiles `median_distance`,
    `distance_90` and `distance_99`, and `near_duplicates`, the share of the kept anchors with another kept
    row of a cosine similarity of 0.95 or more. On a sample the radius is a lower bound.
    """

    mmd: float | None = None
    radius: float | None = None
    median_distance: float | None = None
    distance_90: float | None = None
    distance_99: float | None = None
    near_duplicates: float | None = None
    topic_divergence: float | None = None
    language_divergence: float | None = None
    length_divergence: float | None = None
    mean_tokens_all: float | None = None
    mean_tokens_kept: float | None = None
    tokens_kept: int | None = None
    n_anchors: int = 0

    @property
    def numbers(self) -> dict[str, float | None]:
        """Name -> number, without `n_anchors`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "n_anchors"}


DISTANCES = dict(zip(("median_distance", "distance_90", "distance_99"), nearest.QUANTILES, strict=True))
