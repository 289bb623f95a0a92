"""Scoring that is killed repeatedly: no cached score is lost, changed or computed again."""

import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import time

import pytest
from conftest import table

from workbench.complexity import score
from workbench.core.store import cache_dir
from workbench.lm import forward

ROWS, KILLS, BUDGET = 1000, 20, 600  # about eight rows per batch


def stored() -> dict[str, bytes]:
    path = cache_dir() / "results.sqlite"
    if not path.exists():
        return {}
    with sqlite3.connect(path, timeout=60) as db:
        try:
            return dict(db.execute("SELECT key, value FROM results WHERE kind = 'ifd'"))
        except sqlite3.OperationalError:  # no table yet
            return {}


def run(folder, ds, counted, largest) -> None:
    """Score in a child process that counts rows before it runs them."""
    summed_nll = forward.summed_nll

    def counting(model, samples):
        counted.value += len(samples) // 2
        time.sleep(0.01)  # as a real model takes time
        largest.value = max(largest.value, len(samples) // 2)
        return summed_nll(model, samples)

    forward.summed_nll = counting
    score(ds, folder, token_budget=BUDGET)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has loaded PyTorch")
def test_twenty_kills_lose_no_score(toy_model_dir, monkeypatch, tmp_path):
    folder = toy_model_dir("llama")
    chance = random.Random(0)
    words = [["add", "sort", "reverse", "count"][chance.randrange(4)] for _ in range(ROWS)]
    ds = table(
        [f"Write {word} number {i}." for i, word in enumerate(words)],
        [
            f"def {word}_{i}(x):\n    return {'x + ' * chance.randrange(1, 9)}{i}"
            for i, word in enumerate(words)
        ],
    )
    fork = multiprocessing.get_context("fork")
    counted, largest = fork.Value("i", 0), fork.Value("i", 0)
    before: dict[str, bytes] = {}
    for _ in range(KILLS):
        child = fork.Process(target=run, args=(folder, ds, counted, largest))
        child.start()
        n_cached = len(before) + chance.randrange(1, 70)
        while len(stored()) < n_cached and child.is_alive():
            time.sleep(0.01)
        time.sleep(chance.random() / 50)  # at any point of its work
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        after = stored()
        assert before.items() <= after.items()
        before = after
    assert 100 < len(before) < ROWS  # the kills happened during the work
    whole = score(ds, folder, token_budget=BUDGET)
    assert before.items() <= stored().items()
    rescored = counted.value + (ROWS - len(before)) - ROWS
    assert 0 <= rescored <= KILLS * largest.value  # no kill cost more than one batch
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "undisturbed"))
    undisturbed = score(ds, folder, token_budget=BUDGET)
    assert whole["score_status"][:] == undisturbed["score_status"][:] == ["ok"] * ROWS
    assert whole["ifd"][:] == pytest.approx(undisturbed["ifd"][:], rel=1e-5)
