"""The numbers above the figures: how much is kept, and how it covers the whole."""

from html import escape

from ..selection import Selection

_LINE = (
    '<div style="display:flex;flex-wrap:wrap;align-items:baseline;column-gap:1.4em;margin:.3em 0">'
    '<span style="width:6em;font-weight:600">{title}</span>{numbers}</div>'
)
_NUMBER = (
    '<div style="min-width:8em" title="{meaning}">'
    '<div style="font-size:1.6em;line-height:1.3;font-variant-numeric:tabular-nums">{value}</div>'
    '<div style="opacity:.75;line-height:1.3">{name}</div></div>'
)
_MEANING = {
    "of all rows": "kept rows over all rows, also those without a score",
    "tokens": "training tokens of the kept rows",
    "clusters lost": "clusters of which no row is kept",
    "divergence, bits": "Jensen-Shannon divergence of the clusters' shares among all rows and among the kept",
    "MMD": "maximum mean discrepancy in embedding space: 0 where kept rows are distributed as all are",
    "coverage radius": "largest cosine distance of a row to its nearest kept one",
    "90 % within": "cosine distance within which 90 % of the rows have a kept one",
    "near-duplicates": "share of the kept rows with another kept one at a cosine similarity of 0.95 or more",
}


def shown(selection: Selection) -> str:
    """HTML of two lines of numbers."""
    return _line("Kept", _kept(selection)) + _line("Coverage", _coverage(selection))


def _line(title: str, numbers: dict[str, str]) -> str:
    cells = [
        _NUMBER.format(name=name, value=value, meaning=escape(_MEANING.get(name, "")))
        for name, value in numbers.items()
    ]
    return _LINE.format(title=title, numbers="".join(cells))


def _kept(selection: Selection) -> dict[str, str]:
    report = selection.report
    return {
        "rows kept": f"{report.n_kept:,}",
        "of all rows": f"{report.share_of_all:.1%}",
        f"of {report.n_eligible:,} eligible": f"{report.share_of_eligible:.1%}",
        "tokens": f"{selection.coverage.tokens_kept:,}",
        "mean IFD kept": "none" if report.mean_ifd_kept is None else f"{report.mean_ifd_kept:.3f}",
    }


def _coverage(selection: Selection) -> dict[str, str]:
    report, coverage = selection.report, selection.coverage
    numbers = {
        "clusters lost": f"{report.clusters_lost}",
        "divergence, bits": "none" if report.divergence is None else f"{report.divergence:.4f}",
    }
    if coverage.mmd is not None:  # there are embeddings, and rows are kept
        numbers |= {"MMD": f"{coverage.mmd:.4f}", "coverage radius": f"{coverage.radius:.3f}"}
        numbers["90 % within"] = f"{coverage.distance_90:.3f}"
    if coverage.near_duplicates is not None:
        numbers["near-duplicates"] = f"{coverage.near_duplicates:.1%}"
    return numbers
