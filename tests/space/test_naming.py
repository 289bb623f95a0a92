"""Clusters are named by words that are typical of their instructions."""

import datasets
import numpy as np

import workbench as wb
from workbench.space.naming import typical_words

TEXTS = ["Sort the list of numbers", "sort a list", "Parse a json file", "parse json text", "json json json"]
TEXTS += ["Read a csv"]
LABELS = np.array([0, 0, 7, 7, 7, 1])


def test_typical_words_match_a_hand_worked_example():
    typical = typical_words(TEXTS, LABELS, words=2)
    # "json" is in all three texts of cluster 7, "parse" in two; "list" and "sort" are in both of cluster 0.
    assert typical == {0: ["list", "sort"], 1: ["csv", "read"], 7: ["json", "parse"]}


def test_words_in_most_rows_are_ignored():
    texts = [f"write {word}" for word in ("trees", "graphs", "dates", "times")]
    assert typical_words(texts, np.array([0, 0, 1, 1]), 3) == {0: ["graphs", "trees"], 1: ["dates", "times"]}


def test_clusters_without_words_keep_their_number():
    ds = datasets.Dataset.from_dict({"instruction": ["12 + 3", "", None], "cluster": [0, 1, 1]})
    assert wb.cluster_names(ds) == {0: "cluster 0", 1: "cluster 1"}


def test_the_bundled_clusters_have_names_of_three_words():
    names = wb.cluster_names(wb.first_look())
    assert list(names) == list(range(10))
    assert all(name.count(", ") == 2 for name in names.values())
