"""The store returns what was written, with concurrent writers and after a writer is killed."""

import signal
import subprocess
import sys
import textwrap

from hypothesis import given
from hypothesis import strategies as st

from workbench.core.store import Store, cache_dir, digest


def python(code: str) -> subprocess.Popen:
    """Run `code` in a second process that uses the cache of this test."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_get_returns_stored_values_and_leaves_out_absent_keys():
    store = Store("ifd")
    store.put({"a": b"1", "b": b"\x00\xff"})
    assert Store("ifd").get(["b", "absent", "a", "a"]) == {"a": b"1", "b": b"\x00\xff"}


def test_a_second_put_replaces_the_first():
    store = Store("ifd")
    store.put({"a": b"old"})
    store.put({"a": b"new"})
    assert store.get(["a"]) == {"a": b"new"}


def test_kinds_do_not_share_keys():
    Store("ifd").put({"a": b"score"})
    assert Store("embedding").get(["a"]) == {}


def test_more_keys_than_fit_in_one_statement():
    values = {f"key {i}": str(i).encode() for i in range(1203)}
    store = Store("ifd")
    store.put(values)
    assert store.get(values) == values


def test_the_environment_variable_sets_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "deep/er"))
    assert cache_dir() == tmp_path / "deep/er"
    assert Store("ifd").path.parent == tmp_path / "deep/er"


def test_two_processes_can_write_at_once():
    writer = """
        from workbench.core.store import Store
        for i in range(40):
            Store("ifd").put({{"{name} %d" % i: b"{name}"}})
    """
    running = [python(writer.format(name=name)) for name in ("left", "right")]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert errors == ["", ""]
    assert len(Store("ifd").get(f"{name} {i}" for name in ("left", "right") for i in range(40))) == 80


def test_killing_a_writer_loses_no_completed_put():
    process = python("""
        from workbench.core.store import Store
        store, i = Store("ifd"), 0
        while True:
            store.put({f"{i} {part}": b"x" * 2000 for part in range(3)})
            print(i, flush=True)  # after the put has returned
            i += 1
    """)
    for _ in range(15):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = Store("ifd")
    assert len(store.get(f"{i} {part}" for i in range(last + 1) for part in range(3))) == 3 * (last + 1)
    # Later puts are stored completely or not at all.
    later = [len(store.get(f"{i} {part}" for part in range(3))) for i in range(last + 1, last + 500)]
    assert set(later) <= {0, 3}


def test_digest_depends_on_the_boundaries_of_parts():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(["ab"], "c") != digest("ab", "c")
    assert digest(b"ab", b"c") != digest(b"abc")
    assert digest(1) != digest(1.0) != digest("1")


def test_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


@given(st.lists(st.text()), st.lists(st.text()))
def test_digests_are_equal_only_for_equal_parts(left, right):
    assert (digest(*left) == digest(*right)) == (left == right)
