"""Names for clusters: the most typical words of their instructions."""

from collections.abc import Sequence

import datasets
import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from ..core import tables

_WORD = r"(?u)\b[^\W\d_][\w+#]{2,}"
_SAMPLE = 10_000  # rows to read at most; more do not change the names
_CHARACTERS = 2_000  # per text; what follows is rarely the task itself
_COMMON = 0.5  # words in a larger fraction of the rows are ignored


def cluster_names(ds: datasets.Dataset, words: int = 3) -> dict[int, str]:
    """Name each cluster by its most typical words, e.g. {0: "sort, list, numbers", 1: "json, parse, file"}.

    Returns one name of up to `words` words per label, or "cluster 3" if label 3 has no typical word. Reads at
    most 10,000 rows, drawn at random with a fixed seed. Words are weighted by class-based TF-IDF
    (Grootendorst, 2022); English stop words and words in more than half of the rows are ignored.

    Raises UserError if the table has no `instruction` or `cluster`.
    """
    tables.require(ds, ["instruction"], "wb.load")
    tables.require(ds, ["cluster"], "wb.embed and wb.cluster")
    labels = tables.array(ds, "cluster")
    rows = np.arange(len(ds))
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))
    typical = typical_words(ds.select(rows)["instruction"][:], labels[rows], words)
    return {
        label: ", ".join(typical.get(label, ())) or f"cluster {label}" for label in np.unique(labels).tolist()
    }


def typical_words(texts: Sequence[str | None], labels: np.ndarray, words: int) -> dict[int, list[str]]:
    """The most typical words of each label, best first, by class-based TF-IDF (Grootendorst, 2022).

    The weight of a word in a cluster is the fraction of the cluster's texts that contain it, times log(1 +
    mean number of texts per cluster / number of texts that contain the word). A text counts once per word,
    however often it repeats the word.
    """
    counter = CountVectorizer(binary=True, token_pattern=_WORD, stop_words=list(ENGLISH_STOP_WORDS))
    try:
        counts = counter.fit_transform([(text or "")[:_CHARACTERS] for text in texts])
    except ValueError:  # the texts contain no word
        return {}
    vocabulary = np.asarray(counter.get_feature_names_out())
    frequency = np.asarray(counts.sum(axis=0)).ravel()
    classes, sizes = np.unique(labels, return_counts=True)
    rarity = np.log1p(sizes.mean() / frequency)
    rarity[frequency > max(1, _COMMON * len(texts))] = 0.0
    typical = {}
    for label, size in zip(classes.tolist(), sizes, strict=True):
        weight = np.asarray(counts[labels == label].sum(axis=0)).ravel() / size * rarity
        best = np.argsort(-weight, kind="stable")[:words]
        typical[label] = vocabulary[best[weight[best] > 0]].tolist()
    return typical
