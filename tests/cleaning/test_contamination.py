"""Contamination: tasks made by hand, then EvalPlus's real files with leaks planted among real rows."""

import gzip
import json
from pathlib import Path

import datasets
import pytest
from benchmarks.contamination import recall
from conftest import table

import workbench as wb
from workbench.cleaning.contamination import (
    Runs,
    Task,
    benchmark_path,
    description,
    mark_contaminated,
    read_tasks,
    words,
)
from workbench.cleaning.flagged import drop_flagged
from workbench.core.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
FILES = {
    name: SHARED / f"{stem}.jsonl.gz"
    for name, stem in (("humaneval", "HumanEvalPlus-v0.1.10"), ("mbpp", "MbppPlus-v0.2.0"))
}
LONG = "Write a function that counts the vowels of every word in a sentence"
TASK = {"task_id": "T/0", "prompt": "x", "canonical_solution": "y"}

real = pytest.mark.skipif(not SHARED.is_dir(), reason="EvalPlus's files are not beside this checkout")


def rows(instructions, responses=None):
    ds = table(instructions, responses or ["pass"] * len(instructions))
    return ds.add_column("id", [f"r{i}" for i in range(len(ds))])


@pytest.fixture
def benchmark(tmp_path):
    doc = LONG + " and returns the largest of these counts"
    prompt = f'def most(s):\n    """{doc}\n    >>> most("a")\n    1\n    """\n'
    solution = "    return max(sum(c in 'aeiou' for c in w) for w in s.split())\n"
    task = {"task_id": "T/0", "prompt": prompt, "canonical_solution": solution}
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(task) + "\n")
    return path, doc, solution


def test_the_description_ends_before_the_examples():
    assert description('"""\nDo it.\nassert f(1) == 2\n"""\n').strip() == "Do it."
    assert description("def broken(:") == "def broken(:"


def test_a_match_names_the_task_the_kind_and_the_text(benchmark):
    path, doc, solution = benchmark
    ds = rows(
        [doc.upper() + "!", "Please. " + LONG + "; thanks", "Other task", "Sort a list."],
        ["x", "x", solution, "x"],
    )
    ds = mark_contaminated(ds, ["humaneval"], paths={"humaneval": path})
    assert ds["contaminated_by"][:] == ["T/0", "T/0", "T/0", None]
    assert ds["contaminated_how"][0] == "exact description"
    assert ds["contaminated_how"][2] == "exact solution"
    assert ds["contaminated_how"][1].startswith("13-gram of ")
    assert ds["contaminated_text"][1] == " ".join(words(LONG)[:13])
    assert drop_flagged(ds).dataset["id"][:] == ["r3"]


def test_runs_of_numbers_do_not_match(benchmark):
    path, *_ = benchmark
    counting = " ".join(map(str, range(20)))
    task = {"task_id": "T/1", "prompt": f'"""{counting}"""', "canonical_solution": counting}
    path.write_text(json.dumps(task) + "\n")
    ds = mark_contaminated(rows([f"Sum {counting}."]), ["humaneval"], paths={"humaneval": path})
    assert ds["contaminated_by"][:] == [None]


def test_a_missing_benchmark_file_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("MBPP_OVERRIDE_PATH", str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match=r"none.jsonl of benchmark mbpp does not exist"):
        mark_contaminated(rows(["a"]), ["mbpp"])


def task(name: str, **texts: str) -> Task:
    return Task(name, {part: words(text) for part, text in texts.items()})


def first_run(tasks: list[Task], text: str, n: int = 13):
    """Return the length in words, task id and part of the first run in `text`, or None."""
    match = Runs(tasks, n).first(words(text))
    return match and (len(match[0]), *match[1:])


def test_runs_match_as_by_hand():
    nine = "one two three four five six seven eight nine"
    fourteen = "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november"
    tasks = [task("A", description=nine), task("B", solution=fourteen)]
    assert first_run(tasks, f"so {nine} it is") == (9, "A", "description")  # a short text as a whole
    assert first_run(tasks, nine.removesuffix(" nine")) is None  # but not a part of it
    assert first_run(tasks, f"so {fourteen}") == (14, "B", "solution")
    assert first_run(tasks, fourteen.removeprefix("alpha ")) == (13, "B", "solution")
    assert first_run(tasks, fourteen.removeprefix("alpha bravo ")) is None  # twelve words
    assert first_run(tasks, fourteen.removeprefix("alpha bravo "), n=5) == (5, "B", "solution")
    # A run that occurs in two tasks counts for neither.
    shared = [*tasks, task("C", prompt=fourteen + " oscar")]
    assert first_run(shared, fourteen.removeprefix("alpha ")) is None


def test_texts_of_seven_words_are_not_searched_for():
    seven = "alpha bravo charlie delta echo foxtrot golf"
    assert first_run([task("A", prompt=seven)], f"so {seven}") is None
    assert first_run([task("A", prompt=seven + " hotel")], f"so {seven} hotel") == (8, "A", "prompt")


def test_empty_and_missing_texts_match_nothing(benchmark):
    marked = mark_contaminated(rows(["", None], [None, ""]), ["humaneval"], paths={"humaneval": benchmark[0]})
    assert marked["contaminated_by"][:] == [None, None]
    assert mark_contaminated(rows([]), ["humaneval"], paths={"humaneval": benchmark[0]}).num_rows == 0


@pytest.mark.parametrize("benchmarks", ["humaneval", []])
def test_benchmarks_must_be_a_list_of_known_names(benchmarks):
    with pytest.raises(UserError, match=r"benchmarks=.* must be a list of humaneval or mbpp"):
        mark_contaminated(rows(["a"]), benchmarks)
    with pytest.raises(UserError, match="benchmark='apps' is not known; choose one of humaneval, mbpp"):
        mark_contaminated(rows(["a"]), ["apps"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "holds no task"),
        ("a.jsonl", b"[1]\n", r"task 1: not EvalPlus's format \(TypeError"),
        (
            "a.jsonl",
            json.dumps(TASK).encode() + b"\n{}\n",
            r"task 2: not EvalPlus's format \(KeyError\('task_id'\)",
        ),
        ("a.jsonl", json.dumps(TASK | {"prompt": None}).encode(), "task 1: not EvalPlus's format"),
        ("a.jsonl", b"\xff\xfe", "cannot be read"),
        ("a.jsonl.gz", b"plain", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"x" * 999, mtime=0)[:20], "cannot be read"),
    ],
)
def test_a_file_of_another_format_is_an_error(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_tasks(tmp_path / name)


def test_the_newest_evalplus_file_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv("HUMANEVAL_OVERRIDE_PATH", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    with pytest.raises(UserError, match="benchmark humaneval: this machine lacks"):
        benchmark_path("humaneval")
    (tmp_path / "evalplus").mkdir()
    for version in ("v0.1.9", "v0.1.10", "v0.1.2"):
        (tmp_path / f"evalplus/HumanEvalPlus-{version}.jsonl").touch()
    (tmp_path / "evalplus/HumanEvalPlus-Mini-v0.2.0.jsonl").touch()  # has only some of the tasks
    assert benchmark_path("humaneval").name == "HumanEvalPlus-v0.1.10.jsonl"


@real
@pytest.mark.parametrize(("name", "n_tasks"), [("humaneval", 164), ("mbpp", 378)])
@pytest.mark.parametrize("location", ["override", "cache"])
def test_evalplus_files_are_read_from_both_locations(name, n_tasks, location, tmp_path, monkeypatch):
    monkeypatch.delenv(f"{name.upper()}_OVERRIDE_PATH", raising=False)
    if location == "override":
        monkeypatch.setenv(f"{name.upper()}_OVERRIDE_PATH", str(FILES[name]))
    else:
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path))
        (tmp_path / FILES[name].stem).write_bytes(gzip.decompress(FILES[name].read_bytes()))
    tasks = read_tasks(benchmark_path(name))
    assert len({task.id for task in tasks}) == n_tasks
    leaked = " ".join(tasks[7].texts["prompt"])
    marked = mark_contaminated(rows(["Sort a list.", leaked]), [name])
    assert marked["contaminated_by"][:] == [None, tasks[7].id]
    assert marked["contaminated_how"][1] == "exact prompt"


@real
@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # in the benchmarks' code
def test_recall_of_planted_leaks_among_real_rows():
    alpaca = wb.load(SHARED / "codealpaca_4k.jsonl").select_columns(["instruction", "response"])
    assert sum(task is not None for task in mark_contaminated(alpaca, paths=FILES)["contaminated_by"]) == 2
    recalls = recall(FILES, datasets.Dataset.from_dict(alpaca[:500])).min(axis=1)  # of both benchmarks
    minimum = {
        "prompt as instruction": 0.99,
        "solution as response": 0.92,
        "solution, other whitespace": 0.92,
        "program within an answer": 0.98,
        "bare solution within an answer": 0.85,
        "description within prose": 0.93,
    }
    for kind, share in minimum.items():
        assert recalls[kind] >= share, kind
    assert recalls["solution, all names changed"] < 0.1  # documented as not covered
