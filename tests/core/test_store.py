"""The store: what was put is there, whole, whoever else writes and whoever is killed."""

import signal
import subprocess
import sys
import textwrap

from hypothesis import given
from hypothesis import strategies as st

from workbench.core.store import Store, cache_dir, digest


def python(code: str) -> subprocess.Popen:
    """A second process, with the cache of this test."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_was_put_is_found_again_and_the_rest_is_left_out():
    store = Store("ifd")
    store.put({"a": b"1", "b": b"\x00\xff"})
    assert Store("ifd").get(["b", "absent", "a", "a"]) == {"a": b"1", "b": b"\x00\xff"}


def test_a_second_put_replaces_the_first():
    store = Store("ifd")
    store.put({"a": b"old"})
    store.put({"a": b"new"})
    assert store.get(["a"]) == {"a": b"new"}


def test_kinds_are_apart():
    Store("ifd").put({"a": b"score"})
    assert Store("embedding").get(["a"]) == {}


def test_more_keys_than_one_statement_takes():
    values = {f"key {i}": str(i).encode() for i in range(1203)}
    store = Store("ifd")
    store.put(values)
    assert store.get(values) == values


def test_the_cache_folder_is_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "deep/er"))
    assert cache_dir() == tmp_path / "deep/er"
    assert Store("ifd").path.parent == tmp_path / "deep/er"


def test_two_processes_write_at_once():
    writer = """
        from workbench.core.store import Store
        for i in range(40):
            Store("ifd").put({{"{who} %d" % i: b"{who}"}})
    """
    running = [python(writer.format(who=who)) for who in ("left", "right")]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert errors == ["", ""]
    assert len(Store("ifd").get(f"{who} {i}" for who in ("left", "right") for i in range(40))) == 80


def test_a_killed_writer_loses_nothing_that_it_had_put():
    process = python("""
        from workbench.core.store import Store
        store, i = Store("ifd"), 0
        while True:
            store.put({f"{i} {part}": b"x" * 2000 for part in range(3)})
            print(i, flush=True)  # only when the put has returned
            i += 1
    """)
    for _ in range(15):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = Store("ifd")
    assert len(store.get(f"{i} {part}" for i in range(last + 1) for part in range(3))) == 3 * (last + 1)
    # And what came after is there as a whole or not at all.
    later = [len(store.get(f"{i} {part}" for part in range(3))) for i in range(last + 1, last + 500)]
    assert set(later) <= {0, 3}


def test_digest_does_not_run_parts_together():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(["ab"], "c") != digest("ab", "c")
    assert digest(b"ab", b"c") != digest(b"abc")
    assert digest(1) != digest(1.0) != digest("1")


def test_digest_does_not_depend_on_the_order_of_settings():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


@given(st.lists(st.text()), st.lists(st.text()))
def test_digests_agree_only_for_equal_parts(left, right):
    assert (digest(*left) == digest(*right)) == (left == right)
