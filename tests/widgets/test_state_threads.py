"""The state, changed from several threads and by its listeners: at rest it shows what its settings give.

WORKBENCH_WALKS sets the number of random walks of each state machine, 8 by default.
"""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import workbench as wb
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.selection import STRATEGIES
from workbench.widgets import Controls, ErrorPanel, State
from workbench.widgets import state as state_module

WALKS = int(os.environ.get("WORKBENCH_WALKS", "8"))
PATIENCE = 20  # seconds until a wait counts as a deadlock
BAD_K = 5  # the number of clusters whose clustering fails


@pytest.fixture(scope="module")
def ds():
    rng, n = np.random.default_rng(0), 48
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {
        "ifd": rng.uniform(0.1, 1.2, n),
        "n_tokens": rng.integers(5, 60, n),
        "cluster": rng.integers(0, 3, n),
        "x": vectors[:, 0].astype(float),
        "y": vectors[:, 1].astype(float),
        "response": [f"print({row})" for row in range(n)],
        "embedding": list(vectors),
    }
    return datasets.Dataset.from_dict(columns)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The strategy "slow", which waits for `proceed`, "brief", which waits for 2 ms, and "fails"."""
    for name in ("slow", "brief", "fails"):
        monkeypatch.setitem(STRATEGIES, name, None)
    started, proceed = threading.Event(), threading.Event()

    @wb.strategy("slow")
    def slow(candidates, n, rng):
        started.set()
        assert proceed.wait(PATIENCE)
        return np.arange(len(candidates))

    @wb.strategy("brief")
    def brief(candidates, n, rng):
        time.sleep(0.002)
        return rng.permutation(len(candidates))

    @wb.strategy("fails")
    def fails(candidates, n, rng):
        raise UserError("this strategy fails.")

    def cluster(ds, k, *, seed):
        if k == BAD_K:
            raise UserError("this clustering fails.")
        return wb.cluster(ds, k, seed=seed)

    monkeypatch.setattr(state_module, "cluster", cluster)
    return started, proceed


def assert_at_rest(state, controls=None):
    """Selection and plan are those of the settings, computed afresh, and the controls show them."""
    now, calls = state.now, state.settings()
    assert calls["select"] == {**now.budget, "strategy": now.strategy, "max_ifd": 1.0, "seed": now.seed}
    clustered = wb.cluster(state.given, now.k, seed=42) if now.k else state.given
    selection = wb.select(clustered, **now.budget, strategy=now.strategy, seed=now.seed)
    plan = wb.pack(selection.dataset, now.max_length, now.packing, batch_size=now.batch_size, seed=now.seed)
    np.testing.assert_array_equal(state.selection.indices, selection.indices)
    np.testing.assert_array_equal(tables.array(state.ds, "cluster"), tables.array(clustered, "cluster"))
    assert state.plan.rows == plan.rows
    assert calls["cluster"] == (now.k and {"k": now.k, "seed": 42})
    assert calls["pack"] == {"max_length": now.max_length, "strategy": now.packing} | {
        "batch_size": now.batch_size,
        "seed": now.seed,
    }
    if controls:
        shown = (controls.strategy.value, controls.packing.value, controls.k.value, controls.unit.value)
        assert shown == (now.strategy, now.packing, now.k or state.given_k, now.unit)
        assert (controls.max_length.value, controls.batch_size.value) == (now.max_length, now.batch_size)
        percent = 100 if now.unit == "ratio" else 1
        assert controls.ratio_field.value == pytest.approx(percent * now.amount)


def test_a_slider_moved_during_a_slow_selection_is_followed(ds, registered):
    started, proceed = registered
    state = State(ds, ratio=0.38)
    controls = Controls(state)
    state.touch()
    with ThreadPoolExecutor(2) as threads:
        chosen = threads.submit(setattr, controls.strategy, "value", "slow")
        assert started.wait(PATIENCE)
        moved = threads.submit(setattr, controls.ratio, "value", 6)
        time.sleep(0.1)  # a lock would hold the second thread here, and that is right as well
        proceed.set()
        chosen.result(PATIENCE)
        moved.result(PATIENCE)
    assert state.now.budget == {"ratio": 0.06}
    assert len(state.selection.indices) == int(0.06 * len(ds))
    assert_at_rest(state, controls)


def test_a_slider_moved_on_another_event_loop_is_followed(ds, registered):
    started, proceed = registered
    state = State(ds, ratio=0.38)
    controls = Controls(state)
    state.touch()

    async def change(control, value):
        control.value = value
        await asyncio.sleep(0.8)

    with ThreadPoolExecutor(2) as threads:
        chosen = threads.submit(asyncio.run, change(controls.strategy, "slow"))
        assert started.wait(PATIENCE)
        moved = threads.submit(asyncio.run, change(controls.ratio, 6))
        time.sleep(0.4)  # the slider is at rest before the selection ends
        proceed.set()
        chosen.result(PATIENCE)
        moved.result(PATIENCE)
    assert state.now.budget == {"ratio": 0.06}
    assert_at_rest(state, controls)


def test_reading_the_settled_selection_waits_for_the_other_thread(ds, registered):
    started, proceed = registered
    state = State(ds)
    with ThreadPoolExecutor(2) as threads:
        chosen = threads.submit(state.set, strategy="slow", rows=7)
        assert started.wait(PATIENCE)
        read = threads.submit(state.settle)
        time.sleep(0.05)
        assert not read.done()
        proceed.set()
        assert len(read.result(PATIENCE).indices) == 7
        chosen.result(PATIENCE)


def test_the_settled_selection_does_not_wait_for_the_timer(ds):
    state = State(ds)

    async def move():
        state.set(strategy="brief", rows=5)
        assert state.selection.settings["strategy"] == "ifd-cluster"
        assert len(state.settle().indices) == 5

    asyncio.run(move())
    assert_at_rest(state)


@pytest.mark.parametrize("change", [{"k": BAD_K}, {"strategy": "fails"}], ids=str)
def test_a_change_that_fails_leaves_the_settings_as_they_were(ds, change):
    state = State(ds, ratio=0.5)
    controls = Controls(state)
    state.touch()
    before = state.now
    state.set(**change)
    assert "fails." in str(state.errors.last)
    assert state.now == before
    assert_at_rest(state, controls)
    state.set(k=4)  # and the next one works
    assert state.now.k == 4
    assert_at_rest(state, controls)


def test_a_failing_change_of_k_keeps_the_moves_of_the_slider(ds):
    state = State(ds)
    controls = Controls(state)

    async def move():
        state.set(k=BAD_K)
        state.set(ratio=0.2)
        state.settle()

    asyncio.run(move())
    assert (state.now.k, state.now.amount) == (None, 0.2)
    assert_at_rest(state, controls)


def test_new_clusters_need_embeddings(ds):
    state = State(ds.remove_columns("embedding"))
    with pytest.raises(UserError, match="embedding"):
        state.set(k=4)
    assert state.now.k is None


def test_a_packing_that_fails_leaves_the_settings_as_they_were(ds, monkeypatch):
    state = State(ds)
    state.touch()
    before, pack = state.now, wb.packing.pack

    def fail(lengths, max_length, *args, **more):
        return 1 / 0 if max_length == 99 else pack(lengths, max_length, *args, **more)

    monkeypatch.setattr(wb.packing, "pack", fail)
    state.set(max_length=99)
    assert isinstance(state.errors.last, ZeroDivisionError)
    assert state.now == before
    assert_at_rest(state)


def test_a_new_seed_draws_new_rows(ds):
    state = State(ds, strategy="random")
    old = state.selection.indices
    state.set(seed=1)
    assert state.settings()["select"]["seed"] == 1
    assert old.tolist() != state.selection.indices.tolist()
    assert_at_rest(state)


def test_settings_describe_what_is_shown_while_a_change_is_pending(ds):
    state = State(ds)
    state.touch()

    async def move():
        before = state.settings()
        state.set(k=4, strategy="brief", seed=2)
        assert state.settings() == before

    asyncio.run(move())


def test_a_listener_can_set_the_state(ds):
    state = State(ds)
    seen = []
    state.on_change(lambda: state.set(batch_size=3))
    state.on_settle(lambda: state.set(rows=9))
    state.on_busy(lambda text: state.set(strategy="brief"))
    state.on_settle(lambda: seen.append(state.settle()))  # does not wait for itself
    state.set(ratio=0.3)
    assert (state.now.batch_size, state.now.budget, state.now.strategy) == (3, {"rows": 9}, "brief")
    assert seen[-1] is state.selection
    assert_at_rest(state)


def test_a_listener_that_fails_does_not_stop_the_others(ds):
    state = State(ds)
    seen = []
    state.on_settle(lambda: 1 / 0)
    state.on_settle(lambda: seen.append(state.now))
    state.set(ratio=0.3)
    assert isinstance(state.errors.last, ZeroDivisionError)
    assert seen == [state.now]
    assert_at_rest(state)


CHANGES = st.one_of(
    st.sampled_from([0.1, 0.35, 0.5, 1.0]).map(lambda ratio: {"ratio": ratio}),
    st.sampled_from([1, 7, 30]).map(lambda rows: {"rows": rows}),
    st.sampled_from([60, 700]).map(lambda tokens: {"tokens": tokens}),
    st.sampled_from(["ifd-cluster", "ifd-top", "random", "brief", "k-center", "fails"]).map(
        lambda strategy: {"strategy": strategy}
    ),
    st.sampled_from([None, 2, 4, BAD_K]).map(lambda k: {"k": k}),
    st.sampled_from([0, 1, 2]).map(lambda seed: {"seed": seed}),
    st.sampled_from(["dynamic", "balanced", "pad"]).map(lambda packing: {"packing": packing}),
    st.sampled_from([64, 100]).map(lambda max_length: {"max_length": max_length}),
    st.sampled_from([2, 5]).map(lambda batch_size: {"batch_size": batch_size}),
)


class Walk(RuleBasedStateMachine):
    """Changes the state in any order, on threads with and without an event loop, and compares each rest."""

    n_threads = 1
    ds: datasets.Dataset

    def __init__(self):
        super().__init__()
        self.state = State(self.ds, errors=ErrorPanel())
        self.state._rest._seconds = 0.002
        self.controls = Controls(self.state)
        self.pending = []
        self.loops = [asyncio.new_event_loop() for _ in range(self.n_threads)]
        self.threads = [threading.Thread(target=loop.run_forever, daemon=True) for loop in self.loops]
        for thread in self.threads:
            thread.start()

    @initialize(listening=st.booleans())
    def listen(self, listening):
        """Add listeners that set the state, and one that fails."""
        if listening:
            state = self.state
            state.on_change(lambda: state.now.amount == 0.5 and state.set(batch_size=5))
            state.on_settle(lambda: state.now.strategy == "random" and state.set(seed=2))
            state.on_busy(lambda text: state.now.k == 2 and state.set(max_length=100))
            state.on_settle(lambda: 1 / 0)
        self.state.touch()

    def on_loop(self, action, thread):
        async def run():
            action()

        loop = self.loops[thread % self.n_threads]
        self.pending.append(asyncio.run_coroutine_threadsafe(run(), loop))

    @rule(change=CHANGES, thread=st.integers(0, 1))
    def change(self, change, thread):
        self.on_loop(lambda: self.state.set(**change), thread)

    @rule(percent=st.integers(1, 100), thread=st.integers(0, 1))
    def slide(self, percent, thread):
        self.on_loop(lambda: setattr(self.controls.ratio, "value", percent), thread)

    @rule(unit=st.sampled_from(["ratio", "rows", "tokens"]), thread=st.integers(0, 1))
    def choose_unit(self, unit, thread):
        self.on_loop(lambda: setattr(self.controls.unit, "value", unit), thread)

    @rule(thread=st.integers(0, 1))
    def read(self, thread):
        self.on_loop(self.state.settle, thread)

    @rule(change=CHANGES)
    def change_without_loop(self, change):
        self.state.set(**change)

    @rule()
    def rest(self):
        for future in self.pending:
            future.result(PATIENCE)
        self.pending.clear()
        end = time.monotonic() + PATIENCE
        while self.state._due or self.state._serial._actions or self.state._serial._free.locked():
            assert time.monotonic() < end, "the state does not come to rest"
            time.sleep(0.001)
        assert_at_rest(self.state, self.controls)

    def teardown(self):
        try:
            self.rest()
        finally:
            for loop, thread in zip(self.loops, self.threads, strict=True):
                loop.call_soon_threadsafe(loop.stop)
                thread.join(PATIENCE)
                loop.close()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_in_all_orders_each_rest_fits_the_settings(ds, n_threads):
    machine = type(f"Walk{n_threads}", (Walk,), {"n_threads": n_threads, "ds": ds})
    quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    # Threads take turns as they like, so a failing walk cannot be shrunk.
    walks = settings(max_examples=WALKS, stateful_step_count=20, phases=[Phase.generate], **quiet)
    run_state_machine_as_test(machine, settings=walks)
