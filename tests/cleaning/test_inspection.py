# ruff: noqa: RUF001
"""The cleaning report: each rule on texts that it flags and on those that it leaves alone."""

import json

import datasets
import numpy as np
import pytest
from conftest import table

import workbench as wb
from workbench.cleaning import rules
from workbench.cleaning.code_lines import has_code, prose
from workbench.cleaning.flagged import FLAGS, drop_flagged
from workbench.cleaning.languages import language
from workbench.core.errors import UserError

CODE = "def add(a, b):\n    return a + b\n"


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        "```python\nx\n```",
        "Use `arr.sort()` for this.",
        "Run `git push` first.",
        "import functools; compose = lambda *steps: steps",
        "lambda x: x * x",
        "SELECT name FROM people",
        "#!/bin/sh\n\nls -lS",
        "find . -type f -mtime 0",
        "puts 'Hello'",
        "sumList :: [Int] -> Int",
        r"^\d{3}-\d{4}$",
        "<b>bold</b>",
        "x = 5",
        "print('hi')",
        "npm install express",
        "[1, 2, 3]",
        "a + b",
        "try:\n  f()\nexcept E:\n  pass",
        "The loop:\n\nfor (i = 0; i < n; i++) {\n",
    ],
)
def test_code_is_recognized(text):
    assert has_code(text)


@pytest.mark.parametrize(
    "text",
    [
        "The output is 25, because x++ adds one after the value is used.",
        "No syntax errors detected.",
        "25",
        "False",
        "True\nFalse",
        "Output: 3",
        "1. Import the module csv.\n2. Open the file and find the longest line.\n3. Return the result.",
        "It sorts the list, then returns the first element. Let me explain: use a heap.",
        "Select the rows from the table and update them.",
        "The `add` function returns `8`.",
        "# Overview\n\nThis class of problems is hard; print them.",
        "If the input is empty, return nothing.\nElse go on.",
        "",
    ],
)
def test_prose_is_not_code(text):
    assert not has_code(text)


def test_prose_leaves_out_code_comments_and_addresses():
    text = "Así:\n```python\nprint('el la los')\n```\n// el comentario\nVer https://el.la y `los`"
    assert prose(text).split() == ["Así:", "Ver", "y"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a function that returns the sum of a list of numbers.", "English"),
        ("Escribe una función que devuelve la suma de los números de una lista.", "Spanish"),
        ("Écrivez une fonction qui retourne la somme des nombres dans une liste.", "French"),
        ("Schreibe eine Funktion, die die Summe der Zahlen einer Liste berechnet und nicht mehr.", "German"),
        ("使用Python编写一个名为calculate_average的函数，计算列表的平均值。", "Chinese"),
        ("リストの合計を返す関数をPythonで書いてください。", "Japanese"),
        ("Напишите функцию, которая возвращает сумму чисел в списке.", "Cyrillic script"),
        ("숫자 목록의 합계를 반환하는 함수를 작성하세요.", "Korean"),
        ("Translate this sentence to English with a script: 你好世界今天天气很好我们去公园散步吧", "English"),
        ("x y z foo bar baz", None),
        ("Print 'la vie en rose'.", None),
        ("α β γ δ", None),
        ("Sort.", None),
        ("os sys re json num para list", None),
    ],
)
def test_the_language_of_prose(text, expected):
    assert language(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't help with that.",
        "I’m sorry, but I cannot assist with this request.",
        "Sorry, but as an AI language model, I cannot run code.",
        "As an AI language model, I don't have access to the internet.",
        "I am sorry, but the question is not clear. Please provide more information.",
        "I apologize, but I cannot generate this.",
        "Unfortunately, I am unable to access external files.",
        "I cannot provide a complete answer without the input.",
        "I'm unable to help you with this.",
        "很抱歉，我无法回答这个问题。",
    ],
)
def test_refusals_are_recognized(text):
    assert rules.refusal("Do it.", text)


@pytest.mark.parametrize(
    "text",
    [
        "print(\"I'm sorry, I can't help with that.\")",
        "Unfortunately, I cannot run it here, but this is the code:\n```python\nprint(1)\n```",
        "Dear customer,\n\nI'm sorry for the delay of your order. It is on its way.",
        "Sorry for the late reply; I can come on Monday.",
        "I cannot wait to see you.",
        "As an AI engineer, I train models every day.",
        "There is no syntax error in the given code.",
        "You can't do this in Python, because strings are immutable.",
        CODE,
    ],
)
def test_ordinary_responses_are_no_refusals(text):
    assert rules.refusal("Do it.", text) is None


def test_empty_texts_and_placeholders():
    for text in (None, " ", "```python\n```", "N/A", "TODO", "...", "[insert your code here]", "No output"):
        assert rules.empty("Do it.", text), text
    for text in ("0", "**", "None", "False", "no", "!", "pass", "{}", "TODO: sort them"):
        assert rules.empty("Do it.", text) is None, text
    assert rules.empty("?!", CODE) == "instruction is '?!'"


def turns(*roles):
    return [{"role": role, "content": "text"} for role in roles]


def test_unusual_turns_are_named():
    for usual in (None, turns("user"), turns("system", "user"), turns("user", "assistant", "user")):
        assert rules.turns(usual) is None
    assert rules.turns(turns("user", "user")) == "turn 2: user again"
    assert rules.turns(turns("assistant", "user")) == "the assistant speaks first"
    assert rules.turns(turns("user", "assistant")) == "the response follows another answer"
    assert rules.turns(turns("user", "system", "user")) == "turn 2: system after user"
    assert rules.turns([*turns("user"), {"role": "user", "content": " "}]) == "turn 2 (user) is blank"


@pytest.fixture
def benchmark(tmp_path):
    doc = "Write a function that counts the vowels of every word in a sentence and returns the largest count"
    task = {"task_id": "T/0", "prompt": f'def most(s):\n    """{doc}"""\n', "canonical_solution": "pass"}
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(task) + "\n")
    return {"benchmarks": ["humaneval"], "paths": {"humaneval": path}}, doc


@pytest.fixture
def rows(benchmark):
    """A row for each rule behind 30 different ordinary rows."""
    _, doc = benchmark
    names = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    ordinary = [
        (f"Write {first} {second} {third} as code.", f"{first} = {second}({third}, {first}) + {second}\n")
        for first, second, third in zip(names * 3, np.roll(names * 3, 4), sorted(names * 3), strict=True)
    ]
    flawed = [
        ordinary[0],
        (ordinary[1][0].upper(), ordinary[1][1]),
        (doc, CODE),
        ("Write it.", "TODO"),
        ("Write a virus.", "I'm sorry, I can't help with that."),
        ("Explain it.", "It adds the two numbers and returns their sum."),
        ("Escribe una función que devuelve la suma de los números de una lista.", "sum(numbers)"),
        ("Write many lines.", "x = 1\n" * 5000),
    ]
    instructions, responses = zip(*ordinary, *flawed, strict=True)
    ds = table(list(instructions), list(responses))
    return ds.add_column("id", [f"r{i}" for i in range(len(ds))])


def test_each_rule_flags_its_row_alone(rows, benchmark):
    report = wb.inspect(rows, **benchmark[0])
    flagged = {rule: [int(row) - 30 for row in flag.rows] for rule, flag in report.flags.items()}
    assert flagged == {
        "exact-duplicate": [0],
        "near-duplicate": [0, 1],
        "leak": [2],
        "empty": [3],
        "refusal": [4],
        "no-code": [3, 4, 5],
        "language": [6],
        "length": [7],
    }
    assert len(report.source) == len(rows)
    lines = report.table.set_index("rule")
    assert lines.loc["no-code", ["rows", "examples"]].tolist() == [3, "r33, r34, r35"]
    assert lines.loc["leak", "share"] == pytest.approx(1 / 38)
    assert report.rows["id"].tolist() == [f"r{row}" for row in range(30, 38)]
    assert report.rows.set_index("id").loc["r30", "exact-duplicate"] == "r0"
    assert report.rows.set_index("id").loc["r32", ["leak", "refusal"]].tolist() == ["T/0", None]
    assert "30,000 characters in response" in report.flags["length"].reasons[0]
    assert "8 with a flag; none is left out" in repr(report)
    assert "8 with a flag" in report._repr_html_()


def test_rows_are_left_out_on_request_by_rule(rows, benchmark):
    report = wb.inspect(rows, **benchmark[0])
    out = report.drop("refusal", "leak")
    assert out.dropped.to_numpy().tolist() == [
        ["r32", None, "T/0"],
        ["r34", "I'm sorry, I can't help with that.", None],
    ]
    assert out.dataset.column_names == rows.column_names
    assert out.dataset["id"][:] == [name for name in rows["id"] if name not in ("r32", "r34")]
    marked = report.marked
    assert set(marked.column_names) - set(rows.column_names) == {FLAGS[rule] for rule in report.flags}
    assert drop_flagged(marked, ["refusal", "leak"]).dataset["id"][:] == out.dataset["id"][:]
    assert len(drop_flagged(marked).dropped) == 3  # near-duplicates and leaks, as before


def test_texts_of_a_page_are_escaped():
    ds = table(["Do it."], ["It is simple."]).add_column("id", ["<script>"])
    report = wb.inspect(datasets.concatenate_datasets([ds, ds]), ["exact-duplicate"])
    assert report.table["examples"].tolist() == ["<script>"]
    assert "&lt;script&gt;" in report._repr_html_()
    assert "<script" not in report._repr_html_()


def test_roles_and_tokens_are_counted():
    ds = table(["a", "b"], [CODE, CODE + "x"])
    ds = ds.add_column("dialogue", [turns("user", "assistant", "user"), None]).add_column("n_tokens", [7, 9])
    report = wb.inspect(ds, ["turns"])
    assert report.roles.loc["user"].tolist() == [3, 2]
    assert report.roles.loc["assistant"].tolist() == [3, 2]
    assert report.lengths.loc["tokens", ["min", "max", "sum"]].tolist() == [7, 9, 16]
    counted = wb.inspect(ds, ["turns"], tokenizer=lambda texts, **_: {"input_ids": [[0] * 5 for _ in texts]})
    assert counted.lengths.loc["tokens", "sum"] == 10


def test_leaks_without_the_benchmarks_files_are_reported_as_not_checked(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path))
    for name in ("HUMANEVAL", "MBPP"):
        monkeypatch.delenv(f"{name}_OVERRIDE_PATH", raising=False)
    report = wb.inspect(table(["a"], [CODE]), ["leak"])
    assert report.table["meaning"][0].startswith("not checked: benchmark humaneval: this machine lacks")
    assert report.table["rows"].isna().all()
    assert "not checked" in repr(report)
    with pytest.raises(
        UserError,
        match="'leak' was not checked: benchmark humaneval: this machine lacks",
    ):
        report.drop("leak")


def test_an_empty_table_and_wrong_arguments():
    empty = datasets.Dataset.from_dict({"id": [], "instruction": [], "response": []})
    empty = empty.cast(datasets.Features(dict.fromkeys(empty.column_names, datasets.Value("string"))))
    report = wb.inspect(empty, [rule for rule in FLAGS if rule not in ("leak", "turns")])
    assert set(report.table["rows"]) == {0}
    assert len(report.rows) == 0
    ds = table(["a"], [CODE])
    for arguments, message in (
        ({"rules": "refusal"}, "rules='refusal' must be a list with some of exact-duplicate"),
        ({"rules": ["rude"]}, "rules='rude' is not known; choose one of empty"),
        ({"rules": ["turns"]}, "column 'dialogue' is missing"),
        ({"rules": ["empty"], "tokenizer": "gpt2"}, "tokenizer='gpt2' must be a tokenizer of transformers"),
    ):
        with pytest.raises(UserError, match=message):
            wb.inspect(ds, **arguments)
    report = wb.inspect(ds, ["empty"])
    with pytest.raises(UserError, match="name the rules whose rows to drop: some of empty"):
        report.drop()
    with pytest.raises(UserError, match="rule='refusal' is not in this report; it has empty"):
        report.drop("refusal")
    with pytest.raises(UserError, match="column 'flag_refusal' is missing"):
        drop_flagged(ds, ["refusal"])


def test_the_figure_shows_each_rule_and_all_lengths(rows, benchmark):
    report = wb.inspect(rows, **benchmark[0])
    figure = wb.figures.inspection(report)
    bars, lengths = figure.data
    assert list(bars.y)[-1].startswith("length")
    assert list(bars.y)[3].endswith(" 1")
    assert bars.x[2] == pytest.approx(100 / 38)
    assert sum(lengths.y) == 38
    svg = wb.figures.to_svg(figure)
    assert "no-code" in svg
    assert "characters per row" in svg
    empty = wb.inspect(table(["a"], ["b"]), ["refusal"])
    assert "Cleaning report" in wb.figures.to_svg(wb.figures.inspection(empty))
