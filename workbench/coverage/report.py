"""`Coverage`: all coverage metrics of one selection."""

from dataclasses import dataclass, fields

from . import nearest


@dataclass(frozen=True)
class Coverage:
    """How well a selection represents the whole dataset.

    A metric is None if its column is missing, and metrics of the kept rows are None if no row is kept
    (`tokens_kept` is then 0). Computed over all rows:

    - `mmd`: maximum mean discrepancy between the embeddings of all and of the kept rows, approximated with
      random Fourier features. From 0 (equal distributions) to sqrt(2), no unit. The module `mmd` has the
      formula.
    - `topic_divergence`, `language_divergence`, `length_divergence`: Jensen-Shannon divergence between the
      shares in all and in the kept rows, in bits, from 0 (equal) to 1 (disjoint); `jensen_shannon` has the
      formula. Topics are the cells of 64 random rows in embedding space, languages are programming languages,
      and lengths are deciles by tokens.
    - `mean_tokens_all`, `mean_tokens_kept`: mean training length, in tokens.
    - `tokens_kept`: total training length of the kept rows, in tokens.

    Computed for `n_anchors` rows, which are all rows or a seeded random sample of 2,000, against all kept
    rows:

    - `radius`: the largest cosine distance (0 to 2) of an anchor to its nearest kept row. On a sample it is a
      lower bound.
    - `median_distance`, `distance_90`, `distance_99`: quantiles 0.5, 0.9 and 0.99 of these distances.
    - `near_duplicates`: the share (0 to 1) of kept anchors that have another kept row with a cosine
      similarity of at least 0.95. None if no anchor is kept.
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
        """All metrics by name, without `n_anchors`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "n_anchors"}


DISTANCES = dict(zip(("median_distance", "distance_90", "distance_99"), nearest.QUANTILES, strict=True))
