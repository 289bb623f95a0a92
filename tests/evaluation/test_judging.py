"""Judging: encoded values, the seccomp filter, samples files, estimates, and agreement with EvalPlus."""

import gzip
import json
import struct
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import cli
from workbench.core.errors import MissingFileError, UserError
from workbench.evaluation import EvalReport, SandboxError, benchmarks, evaluate, level
from workbench.evaluation.judging.pool import WorkerPool
from workbench.evaluation.samples import read_samples
from workbench.evaluation.sandbox import seccomp
from workbench.evaluation.sandbox.inside import wire

try:
    level()
except SandboxError as refused:
    pytest.skip(str(refused), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("evalplus")
SAMPLE = Path(__file__).parent / "evalplus_sample"  # its README says what it holds
SHARED = Path(__file__).resolve().parents[3] / "shared/data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the full files are not beside this checkout")


def round_trip(value):
    return wire.decode(json.loads(json.dumps(wire.encode(value))))


HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
VALUES = st.recursive(
    HASHABLE | st.complex_numbers(allow_nan=False) | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.sets(HASHABLE, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3)
    ),
    max_leaves=10,
)


class TestWire:
    @given(VALUES)
    def test_values_keep_their_type_and_content(self, value):
        back = round_trip(value)
        assert back == value
        assert repr(type(back)) == repr(type(value))

    @pytest.mark.parametrize("value", [(1, [2, (3,)]), {"a": {1, 2}, 2: None}, 10**4000, -0.0, {True: 1.5}])
    def test_nested_values_keep_their_type_and_content(self, value):
        assert repr(round_trip(value)) == repr(value)

    def test_nan_and_infinity_are_kept(self):
        assert repr(round_trip([float("nan"), float("-inf")])) == "[nan, -inf]"

    def test_a_long_text_becomes_its_hash(self):
        text = "é" * wire.LONG_TEXT
        assert len(json.dumps(wire.encode(text))) < 200
        assert round_trip([text]) == round_trip([text])
        assert round_trip(text) != round_trip(text + "x")
        assert round_trip(text) != text

    def test_an_instance_of_a_subclass_equals_its_base_value_but_has_another_type(self):
        class Liar(int):
            def __eq__(self, other):
                return True

            __hash__ = int.__hash__

        back = round_trip(Liar(3))
        assert back == 3
        assert back != 4
        assert type(back) is not int

    def test_views_and_iterators_become_items(self):
        assert round_trip({1: 2}.keys()) == {1}
        for iterable in (iter([1]), map(str, [1]), range(2), {1: 2}.values()):
            back = round_trip(iterable)
            assert isinstance(back, wire.Items)
            assert back != list(back)

    def test_an_object_of_another_type_equals_nothing(self):
        class Any:
            def __eq__(self, other):
                return True

        assert round_trip(Any()) != 1
        assert "Any" in repr(round_trip(Any()))

    def test_a_container_that_contains_itself_is_refused(self):
        loop = []
        loop.append(loop)
        with pytest.raises(ValueError, match="contains itself"):
            wire.encode(loop)

    def test_a_value_with_too_many_items_is_refused(self, monkeypatch):
        monkeypatch.setattr(wire, "MAX_ITEMS", 10)
        fitting = Counter(range(4)), {1: (2, 3)}, [[1, 2], [3, 4, 5, 6]]
        for value in fitting * 3:  # the count starts anew with each value
            wire.encode(value)
        for value in ([[1, 2], [3, 4, 5, 6, 7, 8, 9]], [0] * 11, {i: [i] for i in range(6)}):
            with pytest.raises(ValueError, match="more than 10 items"):
                wire.encode(value)

    @pytest.mark.parametrize(
        "data", [{"int": "x"}, {"a": 1, "b": 2}, {"eval": "1"}, {"set": [[]]}, {"sub": [1]}]
    )
    def test_malformed_data_is_refused(self, data):
        with pytest.raises((ValueError, TypeError)):
            wire.decode(data) if data != {"sub": [1]} else wire.decode({"sub": {"opaque": "x"}})


def run_filter(machine: str, number: int, arguments=(), architecture: int | None = None) -> int:
    """The filter's decision on a system call, by the rules of classic BPF."""
    own = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    data = struct.pack("=iIQ6Q", number, architecture or own, 0, *(*arguments, *[0] * 6)[:6])
    steps = list(struct.iter_unpack("=HBBI", seccomp.build_filter(machine)))
    position = loaded = 0
    while True:
        code, if_true, if_false, value = steps[position]
        position += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return value
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            position += if_true if holds else if_false


class TestFilter:
    @pytest.mark.parametrize(
        ("machine", "number", "arguments", "decision"),
        [
            ("x86_64", 0, (), seccomp.ALLOW),  # read
            ("x86_64", 231, (), seccomp.ALLOW),  # exit_group
            ("x86_64", 257, (0, 0, 0o2000000), seccomp.ALLOW),  # openat to read
            ("x86_64", 257, (0, 0, 0o1), seccomp.KILL),  # to write
            ("x86_64", 257, (0, 0, 0o100), seccomp.KILL),  # to create
            ("x86_64", 257, (0, 0, 0o20200000), seccomp.KILL),  # O_TMPFILE
            ("x86_64", 2, (0, 0o2), seccomp.KILL),  # open
            ("x86_64", 41, (2, 1), seccomp.KILL),  # socket, internet
            ("x86_64", 41, (1, 1), seccomp.REFUSE),  # socket, local
            ("x86_64", 56, (), seccomp.KILL),  # clone
            ("x86_64", 59, (), seccomp.KILL),  # execve
            ("x86_64", 62, (), seccomp.KILL),  # kill
            ("x86_64", 72, (3, 1), seccomp.ALLOW),  # fcntl F_GETFD
            ("x86_64", 72, (3, 8), seccomp.REFUSE),  # F_SETOWN
            ("x86_64", 72, (3, 10), seccomp.REFUSE),  # F_SETSIG
            ("x86_64", 16, (), seccomp.REFUSE),  # ioctl
            ("x86_64", 9999, (), seccomp.REFUSE),
            ("x86_64", 0x40000000, (), seccomp.KILL),  # read in x32's numbering
            ("aarch64", 63, (), seccomp.ALLOW),  # read
            ("aarch64", 56, (0, 0, 0), seccomp.ALLOW),  # openat to read
            ("aarch64", 56, (0, 0, 0o1000), seccomp.KILL),  # to truncate
            ("aarch64", 198, (2, 1), seccomp.KILL),  # socket
            ("aarch64", 220, (), seccomp.KILL),  # clone
            ("aarch64", 221, (), seccomp.KILL),  # execve
            ("aarch64", 35, (), seccomp.KILL),  # unlinkat
            ("aarch64", 25, (0, 10), seccomp.REFUSE),  # fcntl F_SETSIG
            ("aarch64", 2, (), seccomp.REFUSE),  # no open there
        ],
    )
    def test_decision_on_a_call(self, machine, number, arguments, decision):
        assert run_filter(machine, number, arguments) == decision

    @pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
    def test_another_architecture_ends_the_process(self, machine):
        assert run_filter(machine, 0, architecture=0x40000003) == seccomp.KILL

    @pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
    def test_the_filter_is_no_longer_than_the_kernel_allows(self, machine):
        assert len(seccomp.build_filter(machine)) / 8 <= 4096


class TestSamples:
    PROMPTS = {"T/0": "def f():\n", "T/1": "def g():\n"}  # noqa: RUF012

    def read(self, tmp_path, text: str):
        (tmp_path / "s.jsonl").write_text(text)
        return read_samples(tmp_path / "s.jsonl", self.PROMPTS)

    def test_a_completion_follows_its_prompt_and_a_solution_stands_alone(self, tmp_path):
        file = self.read(
            tmp_path,
            '{"task_id": "T/1", "solution": "x"}\n\n{"task_id": "T/0", "completion": "    return 1"}\n',
        )
        assert [(s.task_id, s.code, s.line) for s in file.samples] == [
            ("T/1", "x", 1),
            ("T/0", "def f():\n    return 1", 3),
        ]
        assert (file.problems, file.missing) == ((), ())

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('{"task_id": "T/1", "solu', "line 2 is not JSON .*may be cut short"),
            ("[1]", "line 2 is no JSON object"),
            ('{"task_id": "T/9", "solution": "x"}', "line 2: task_id='T/9' is not a task of the benchmark"),
            ('{"solution": "x"}', "line 2: task_id=None is not a task"),
            ('{"task_id": "T/1"}', r"line 2 \(T/1\) has neither a solution nor a completion"),
            ('{"task_id": "T/1", "solution": ["x"]}', r"line 2 \(T/1\) has neither"),
            ("[" * 100000, "line 2 is not JSON"),
        ],
        ids=["half a line", "list", "unknown task", "no task", "no code", "list of code", "deep"],
    )
    def test_an_unusable_line_is_named(self, tmp_path, line, problem):
        file = self.read(tmp_path, f'{{"task_id": "T/0", "solution": "x"}}\n{line}\n')
        assert len(file.samples) == 1
        assert pd.Series(file.problems).str.match(problem).tolist() == [True], file.problems
        assert file.missing == ("T/1",)

    def test_a_file_without_samples_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="no sample of the benchmark's tasks: line 1 is not JSON"):
            self.read(tmp_path, "{")
        with pytest.raises(MissingFileError, match="there is no such file"):
            read_samples(tmp_path / "absent", {})

    def test_a_gzip_file_that_is_cut_short_is_refused(self, tmp_path):
        (tmp_path / "s.gz").write_bytes(gzip.compress(b'{"task_id": "T/0"}' * 99)[:-9])
        with pytest.raises(UserError, match="cannot be unpacked"):
            read_samples(tmp_path / "s.gz", self.PROMPTS)


def report(model="m", **verdicts) -> EvalReport:
    """A report on HumanEval. `a="pf"` is task a: it passes base, fails plus. A list holds several samples."""
    verdict = {"p": "pass", "f": "fail"}
    rows = [
        {
            "task_id": name,
            "base": verdict[b],
            "plus": verdict[p],
            "base_compat": b == "p",
            "plus_compat": p == "p",
        }
        for name, pairs in verdicts.items()
        for b, p in ([pairs] if isinstance(pairs, str) else pairs)
    ]
    return EvalReport(model, "HumanEval", pd.DataFrame(rows))


class TestReport:
    def test_plus_requires_both_suites(self):
        rep = report(a="pp", b="pf", c="fp", d="ff")
        assert rep.pass_at_1 == 1 / 2
        assert rep.pass_at(1, "plus") == 1 / 4
        assert rep.scores.loc["base", "tasks"] == 4

    def test_pass_at_k_is_a_mean_over_tasks(self):
        rep = report(a=["pp", "ff", "ff", "ff"], b=["pp", "pp", "ff", "ff"])
        assert rep.pass_at(1) == pytest.approx((1 / 4 + 1 / 2) / 2)
        assert rep.pass_at(2) == pytest.approx((1 / 2 + 5 / 6) / 2)
        with pytest.raises(UserError, match="k=5: a task has 4 samples"):
            rep.pass_at(5)

    def test_comparison_counts_the_tasks_that_differ(self):
        comparison = report(a="pp", b="pp", c="ff", d="ff").compare(report(a="pp", b="ff", c="pp", e="pp"))
        counts = comparison.n_tasks, comparison.only_first, comparison.only_second
        assert (*counts, comparison.p_value) == (3, 1, 1, 1)
        assert comparison.flipped["task_id"].tolist() == ["b", "c"]

    def test_reports_that_cannot_be_compared_are_refused(self):
        with pytest.raises(UserError, match="several samples per task"):
            report(a=["pp", "pp"]).compare(report(a="pp"))
        with pytest.raises(UserError, match="compare reports on the same tasks"):
            report(a="pp").compare(EvalReport("m", "MBPP", report(a="pp").tasks))

    def test_save_and_load(self, tmp_path):
        rep = report(a="pp", b="ff")
        back = EvalReport.load(rep.save(tmp_path / "rep.json"))
        pd.testing.assert_frame_equal(back.tasks, rep.tasks)
        assert (back.model, back.missing, repr(back)) == ("m", (), repr(rep))
        (tmp_path / "rep.json").write_text("{}")
        with pytest.raises(UserError, match="cannot be read as a report"):
            EvalReport.load(tmp_path / "rep.json")


MBPP = {"task_id": "Mbpp/2", "entry_point": "similar_elements", "prompt": "", "atol": 0}
TOY = {
    "humaneval": [
        {
            "task_id": "HumanEval/32",
            "entry_point": "find_zero",
            "prompt": "def find_zero(xs):\n",
            "canonical_solution": "    return -xs[0] / xs[1]\n",
            "base_input": [[[1, 2]], [[3, -4]]],
            "plus_input": [[[5, 1]]],
            "atol": 1e-4,
        },
        {
            "task_id": "T/1",
            "entry_point": "half",
            "prompt": "def half(n):\n",
            "canonical_solution": "    return [n / 2]\n",
            "base_input": [[1], [3]],
            "plus_input": [[0], [-1e9]],
            "atol": 0,
        },
        {
            "task_id": "T/2",
            "entry_point": "grow",
            "prompt": "def grow(n):\n",
            "canonical_solution": "    return [0] * n\n",
            "base_input": [[1]],
            "plus_input": [[2], [9 * 10**6]],
            "atol": 0,
        },
    ],
    "mbpp": [
        {
            **MBPP,
            "canonical_solution": "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
            "base_input": [[[1, 2], [2, 3]]],
            "plus_input": [[[3, 4, 5], [5, 3]]],
        }
    ],
}


@pytest.fixture
def toy_benchmarks(tmp_path, monkeypatch):
    pytest.importorskip("tree_sitter", reason="the extra [eval] is not installed")
    for name, tasks in TOY.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"contract": ""} | task) + "\n" for task in tasks))
        monkeypatch.setenv(f"{name.upper()}_OVERRIDE_PATH", str(path))


def write(tmp_path, *samples: tuple[str, str]) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps({"task_id": name, "solution": code}) + "\n" for name, code in samples))
    return path


@pytest.mark.usefixtures("toy_benchmarks")
class TestJudging:
    def test_reference_solutions_pass(self, tmp_path):
        codes = [(task["task_id"], task["prompt"] + task["canonical_solution"]) for task in TOY["humaneval"]]
        rep = evaluate(samples=write(tmp_path, *codes), benchmark="humaneval")
        assert rep.pass_at_1 == rep.pass_at(1, "plus") == 1
        # EvalPlus fails every solution of the first, and of the third because its answer is too large.
        assert rep.pass_at(1, "plus", compat=True) == pytest.approx(1 / 3)
        assert set(rep.defects) == {"HumanEval/32", "T/2"}
        assert "answers 1 of 2 plus inputs" in rep.defects["T/2"]
        assert rep.versions["sandbox"] == str(level())
        assert rep.versions["benchmark"] == "HumanEval(+) unknown"

    def test_values_are_compared_by_the_rules_of_evalplus(self, tmp_path):
        rep = evaluate(
            samples=write(
                tmp_path,
                ("T/1", "def half(n): return [n / 2 + 1e-7]"),  # within the tolerance for floats
                ("T/1", "def half(n): return [n / 2 + 1e-3]"),
                ("T/1", "def half(n): return (n / 2 + 1e-7,)"),  # within the tolerance, but of another type
                ("T/1", "def half(n): return [n / 2] if n > 0 else 1 / 0"),
                ("T/1", "def half(n):\n    while n < 0: pass\n    return [n / 2]"),
                ("T/1", "def double(n): return n"),
                ("T/1", "def half(n: return"),
            ),
            benchmark="humaneval+",
        )
        assert rep.tasks["base"].tolist() == ["pass", "fail", "fail", "pass", "pass", "error", "error"]
        assert rep.tasks["plus"].tolist() == ["pass", "fail", "fail", "error", "timeout", "error", "error"]
        assert rep.tasks["plus_input"].tolist()[3:5] == ["0", "-1000000000.0"]
        assert rep.tasks["plus_detail"][3] == "ZeroDivisionError: division by zero"
        assert rep.missing == ("HumanEval/32", "T/2")
        assert "partial: 1 of 3 tasks" in repr(rep)
        assert rep.pass_at_1 == pytest.approx(1 / 7)
        assert rep.pass_at(2) == pytest.approx(2 / 7)

    def test_mbpp_has_its_own_inputs_and_oracles(self, tmp_path):
        rep = evaluate(
            samples=write(
                tmp_path,
                ("Mbpp/2", "def similar_elements(a, b): return [x for x in a if x in b]"),  # in any order
                ("Mbpp/2", "def similar_elements(a, b): return (x for x in a if x in b)"),
                ("Mbpp/2", "def similar_elements(a, b): return a + b"),  # this task takes tuples
            ),
            benchmark="mbpp",
        )
        assert rep.tasks["base"].tolist() == ["pass", "pass", "fail"]
        assert rep.tasks["base_detail"][2].startswith("gave (1, 2, 2, 3), expected (2,)")

    def test_the_sanitizer_removes_prose(self, tmp_path):
        code = "Sure!\ndef half(n):\n    return [n / 2]\nThat halves n."
        path = write(tmp_path, ("T/1", code), ("T/1", "def half(n):\n    return [n / 2]"))
        plain, clean = (evaluate(samples=path, benchmark="humaneval", sanitize=on) for on in (False, True))
        assert plain.tasks["base"].tolist() == ["error", "pass"]
        assert clean.tasks["base"].tolist() == ["pass", "pass"]
        assert clean.sanitized == {"changed": 1, "emptied": 0}

    def test_the_command_line_judges_and_compares(self, tmp_path, capsys):
        path = write(tmp_path, ("T/1", "def half(n): return [n / 2]"), ("T/9", "x"))
        output = tmp_path / "rep.json"
        cli.main(["eval", "--samples", str(path), "--benchmark", "humaneval", "--output", str(output)])
        printed = capsys.readouterr().out
        for part in ("pass@1 1/1 (partial: 1 of 3 tasks)", "line 2: task_id='T/9'", "seccomp"):
            assert part in printed
        assert EvalReport.load(output).pass_at_1 == 1
        cli.main(["eval", "--samples", str(path), "--against", str(output)])
        assert "McNemar p = 1" in capsys.readouterr().out


def test_a_worker_that_takes_too_long_is_replaced():
    pytest.importorskip("tree_sitter", reason="the extra [eval] is not installed")
    long, short = "x = 1\n" * 5000, "def f():\n    return 1"
    with WorkerPool(1, cpu_seconds=1.0) as pool:
        requests = [{"do": "sanitize", "code": code, "entry_point": "f"} for code in (long, short, 1)]
        first, second, third = pool.map(requests)
    assert first == {"failed": "the judging process ran out of time or memory"}
    assert second == {"code": short}
    assert "AttributeError" in third["failed"]


class TestMachinesThatCannotConfine:
    def test_an_unsupported_machine_is_refused(self, monkeypatch):
        monkeypatch.setattr("platform.machine", lambda: "riscv64")
        with pytest.raises(SandboxError, match=r"is not run here: Linux on riscv64 .* in a Linux container"):
            level.__wrapped__()

    def test_a_kernel_that_rejects_the_filter_is_refused(self, monkeypatch):
        monkeypatch.setattr("workbench.evaluation.sandbox.process._filter", lambda: b"\0" * 8)
        with pytest.raises(SandboxError, match="is not run here: seccomp does not hold"):
            level.__wrapped__()

    def test_a_filter_without_effect_is_refused(self, monkeypatch):
        allow_all = struct.pack("=HBBI", 0x06, 0, 0, seccomp.ALLOW)
        monkeypatch.setattr("workbench.evaluation.sandbox.process._filter", lambda: allow_all)
        with pytest.raises(SandboxError, match="is not run here: seccomp does not hold"):
            level.__wrapped__()


class TestOwnTasks:
    def test_a_file_of_prompts_and_tests(self, tmp_path):
        tasks = tmp_path / "tasks.jsonl"
        tasks.write_text(
            '{"task_id": "a", "prompt": "def f():\\n", "test": "assert f() == 1"}\n'
            '{"task_id": "b", "test": "assert g() == 2"}\n'
        )
        samples = tmp_path / "s.jsonl"
        samples.write_text(
            '{"task_id": "a", "completion": "    return 1"}\n'
            '{"task_id": "b", "solution": "def g(): return 3"}\n'
        )
        rep = evaluate(samples=samples, benchmark=str(tasks))
        assert rep.tasks["base"].tolist() == ["pass", "fail"]
        assert rep.scores.index.tolist() == ["base"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "takes a model or samples=FILE"),
            ({"model": "m", "samples": "s"}, "one of the two"),
            ({"samples": "absent"}, "there is no such file"),
            ({"samples": "s", "benchmark": "absent"}, "neither a file of tasks nor one of"),
            ({"samples": "s", "sanitize": True}, "sanitize=True needs the tasks of HumanEval or MBPP"),
        ],
    )
    def test_unusable_arguments_are_refused(self, arguments, message):
        with pytest.raises(UserError, match=message):
            evaluate(**arguments)

    def test_a_missing_benchmark_file_is_named(self, monkeypatch):
        monkeypatch.setenv("MBPP_OVERRIDE_PATH", "/absent")
        with pytest.raises(MissingFileError, match="MBPP_OVERRIDE_PATH=/absent: there is no such file"):
            benchmarks.load("mbpp")


def assert_verdicts_agree(report: EvalReport, samples: Path) -> None:
    """Compare whether samples pass, on both suites, with the verdicts of EvalPlus in the samples file."""
    recorded = pd.DataFrame(json.loads(line) for line in gzip.decompress(samples.read_bytes()).splitlines())
    verdicts = report.tasks
    assert verdicts["task_id"].tolist() == recorded["task_id"].tolist()
    for suite in ("base", "plus"):
        differs = verdicts[f"{suite}_compat"] != (recorded[suite] == "pass")
        assert verdicts[differs].to_dict("records") == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n", "n_base", "n_plus"), [("humaneval", 43, 17, 15), ("mbpp", 35, 19, 16)])
def test_a_sample_of_the_real_tasks_gets_the_verdicts_of_evalplus(monkeypatch, name, n, n_base, n_plus):
    pytest.importorskip("tree_sitter", reason="the extra [eval] is not installed")
    monkeypatch.setenv(f"{name.upper()}_OVERRIDE_PATH", str(SAMPLE / f"{name}-tasks.jsonl.gz"))
    samples = SAMPLE / f"{name}-samples.jsonl.gz"
    report = evaluate(samples=samples, benchmark=name)
    assert_verdicts_agree(report, samples)
    passed = [report.passed(suite, compat=True).sum() for suite in ("base", "plus")]
    assert [len(report.tasks), *passed] == [n, n_base, n_plus]
    assert set(report.defects) == ({"HumanEval/32"} if name == "humaneval" else set())


@needs_shared
@pytest.mark.slow
def test_completions_of_a_model_get_the_verdicts_of_evalplus(monkeypatch):
    pytest.importorskip("tree_sitter", reason="the extra [eval] is not installed")
    monkeypatch.setenv("HUMANEVAL_OVERRIDE_PATH", str(SHARED / "HumanEvalPlus-v0.1.10.jsonl.gz"))
    samples = SHARED / "samples/humaneval-ours_sn10K.jsonl.gz"
    report = evaluate(samples=samples, benchmark="humaneval")
    assert report.versions["benchmark"] == "HumanEval(+) v0.1.10"
    assert_verdicts_agree(report, samples)
    assert report.pass_at(1, compat=True) == 114 / 164
    assert report.pass_at(1, "plus", compat=True) == 104 / 164
