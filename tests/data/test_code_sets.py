"""The usual code datasets, by the columns on their cards, and the two with a short name."""

import datasets
import pytest

import workbench as wb
from workbench.core.errors import UserError
from workbench.data import hub
from workbench.data.named import NAMED

CHAT = [{"from": "human", "value": "Add."}, {"from": "gpt", "value": "a + b"}]
MESSAGES = [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "a + b"}]
PAIR = ("Add.", "a + b")
SETS = {
    "CodeFeedback-Filtered": (
        {"query": "Add.", "answer": "a + b", "resource": "evol", "lang": "python"},
        PAIR,
    ),
    "Code-Feedback": ({"id": 1, "messages": MESSAGES}, PAIR),
    "OpenCodeInstruct": (
        {
            **{"id": "u1", "input": "Add.", "output": "a + b", "domain": "generic"},
            **{"generation_algorithm": "self-instruct", "llm_judgement": "{}", "unit_tests": "[]"},
            **{"tests_execution_status": "[]", "average_test_score": "1.0"},
        },
        PAIR,
    ),
    "OpenCodeReasoning": (
        {
            **{"id": "r1", "input": "Add.", "output": "<think>..</think> a + b", "source": "x"},
            **{"license": "cc-by-4.0", "dataset": "d", "split": "train", "difficulty": "1"},
            **{"solution": "a + b"},
        },
        ("Add.", "<think>..</think> a + b"),
    ),
    "KodCode-V1": (
        {
            **{"version": "v1", "style": "instruct", "subset": "s", "question_id": "q1", "question": "Add."},
            **{"solution": "a + b", "test": "assert True", "conversations": CHAT},
        },
        PAIR,
    ),
    "KodCode-SFT-R1": (
        {"style": "instruct", "question": "Add.", "r1_solution": "a + b", "conversations": CHAT},
        PAIR,
    ),
    "OpenOrca": (
        {"id": "o1", "system_prompt": "Be brief.", "question": "Add.", "response": "a + b"},
        ("Be brief.\n\nAdd.", "a + b"),
    ),
    "OpenOrca without system": (
        {"id": "o1", "system_prompt": "", "question": "Add.", "response": "a + b"},
        PAIR,
    ),
    "glaive-code-assistant": ({"question": "Add.", "answer": "a + b"}, PAIR),
    "Magicoder-OSS-Instruct": (
        {
            **{"lang": "python", "raw_index": 1, "index": 3, "seed": "s", "openai_fingerprint": "f"},
            **{"problem": "Add.", "solution": "a + b"},
        },
        PAIR,
    ),
    "Magicoder-Evol-Instruct": ({"instruction": "Add.", "response": "a + b"}, PAIR),
    "Evol-Instruct-Code": ({"instruction": "Add.", "output": "a + b"}, PAIR),
    "CodeAlpaca": ({"instruction": "Add", "input": "1 2", "output": "a + b"}, ("Add\n1 2", "a + b")),
    "self-oss-instruct": ({"fingerprint": "f", "prompt": "Add.", "response": "a + b"}, PAIR),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.filterwarnings("ignore")  # about parts of messages that are not used
def test_the_columns_of_usual_code_sets_are_recognized(name):
    row, expected = SETS[name]
    ds = wb.load(datasets.Dataset.from_list([row, {**row, "id": "other"} if "id" in row else row][:1]))
    assert (ds["instruction"][0], ds["response"][0]) == expected
    assert len(wb.rejected(ds)) == 0
    kept = {column.removeprefix("source_") for column in ds.column_names}
    used = {"query", "answer", "input", "output", "question", "solution", "r1_solution", "problem", "prompt"}
    used |= {"messages", "system_prompt", "response"}
    assert row.keys() - kept <= used | {"conversations"}


@pytest.mark.parametrize("name", NAMED)
def test_datasets_with_a_short_name_come_from_the_hub(name, monkeypatch, capsys):
    first, second = NAMED[name].columns
    rows = datasets.Dataset.from_list([{first: "Add.", second: "a + b"}])
    requested = []
    monkeypatch.setattr(hub, "dataset", lambda hub_id, place: requested.append(hub_id) or rows)
    monkeypatch.delenv("WORKBENCH_QUIET", raising=False)
    ds = wb.load(name)
    assert (ds["instruction"][0], ds["response"][0]) == PAIR
    assert requested == [NAMED[name].hub_id]
    printed = "".join(capsys.readouterr())
    for part in (NAMED[name].hub_id, "rows", "MB", "licence", "leaks: "):
        assert part in printed


@pytest.mark.parametrize("name", NAMED)
def test_a_short_name_without_a_network_ends_in_one_sentence(name, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "why_unreachable", lambda: "out of reach (test)")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UserError) as caught:
        wb.load(name)
    message = str(caught.value)
    assert NAMED[name].hub_id in message
    assert "the hub is out of reach (test)" in message
    assert "\n" not in message


def test_a_file_with_a_short_name_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oss-instruct").mkdir()
    (tmp_path / "oss-instruct" / "rows.jsonl").write_text('{"instruction": "Add.", "response": "a + b"}\n')
    assert wb.load("oss-instruct")["response"][:] == ["a + b"]
