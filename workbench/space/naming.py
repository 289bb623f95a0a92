"""Names for clusters: the words that are typical of their instructions."""

from collections.abc import Sequence

import datasets
import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from ..core import tables

_WORD = r"(?u)\b[^\W\d_][\w+#]{2,}"
_SAMPLE = 10_000  # rows read at most; names do not change by more
_CHARACTERS = 2_000  # of a text; what comes later is rarely the task itself
_COMMON = 0.5  # a word in more of the rows than this says nothing about a cluster


def cluster_names(ds: datasets.Dataset, words: int = 3) -> dict[int, str]:
    """Label -> the `words` most typical words of its instructions, "cluster 3" where there are none.

    Up to 10,000 rows are read, drawn evenly under a fixed seed.
    """
    tables.require(ds, ["instruction"], "wb.load")
    tables.require(ds, ["cluster"], "wb.embed and wb.cluster")
    labels = tables.array(ds, "cluster")
    rows = np.arange(len(ds))
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))
    found = typical_words(ds.select(rows)["instruction"][:], labels[rows], words)
    return {
        label: ", ".join(found.get(label, ())) or f"cluster {label}" for label in np.unique(labels).tolist()
    }


def typical_words(texts: Sequence[str | None], labels: np.ndarray, words: int) -> dict[int, list[str]]:
    """Label -> its most typical words, best first, by class-based TF-IDF (Grootendorst, 2022).

    The weight of a word in a cluster is the share of the cluster's texts that hold it, times log(1 + the
    mean number of texts of a cluster / the texts that hold the word anywhere). Texts count once a word,
    however often they repeat it.
    """
    counter = CountVectorizer(binary=True, token_pattern=_WORD, stop_words=list(ENGLISH_STOP_WORDS))
    try:
        counts = counter.fit_transform([(text or "")[:_CHARACTERS] for text in texts])
    except ValueError:  # not one word
        return {}
    known = np.asarray(counter.get_feature_names_out())
    of_word = np.asarray(counts.sum(axis=0)).ravel()
    classes, sizes = np.unique(labels, return_counts=True)
    rarity = np.log1p(sizes.mean() / of_word)
    rarity[of_word > max(1, _COMMON * len(texts))] = 0.0
    found = {}
    for label, size in zip(classes.tolist(), sizes, strict=True):
        weight = np.asarray(counts[labels == label].sum(axis=0)).ravel() / size * rarity
        best = np.argsort(-weight, kind="stable")[:words]
        found[label] = known[best[weight[best] > 0]].tolist()
    return found
