"""Shapes of input beside the table that `load` makes of them: no part of a sample is lost without a word."""

import json
import warnings

import datasets
import pandas as pd
import pytest

from workbench.core import tables
from workbench.core.errors import UserError
from workbench.data import UnusedPartsWarning, load, rejected

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


def turns(*texts: str, roles=(USER, ASSISTANT)) -> list[dict]:
    """Return messages that alternate between `roles`."""
    return [{"role": roles[n % len(roles)], "content": text} for n, text in enumerate(texts)]


def system_and(*messages: dict) -> list[dict]:
    return [{"role": SYSTEM, "content": "s"}, *messages]


def share_gpt(messages: list[dict]) -> list[dict]:
    names = {USER: "human", ASSISTANT: "gpt", SYSTEM: SYSTEM}
    return [{"from": names[message["role"]], "value": message["content"]} for message in messages]


def plain(**others) -> dict:
    return {"instruction": "q", "response": "a", **others}


def table(instruction: str, dialogue: list[dict] | None = None, **others) -> dict:
    """Return the expected row, without its id."""
    turns_of = {} if dialogue is None else {"dialogue": dialogue}
    return {"instruction": instruction, "response": "a", **turns_of, **others}


S = "s\n\nq"
S_TURNS = system_and(*turns("q"))
H_TURNS = turns("p", "o", "q")
H = "User: p\n\nAssistant: o\n\nUser: q"
DIALOGUE = turns("p", "o", "q", "a")

# Name of the shape -> row of the source, arguments of `load`, expected row, part of the warning or None.
SHAPES = {
    "alpaca": ({"instruction": "q", "output": "a"}, {}, table("q"), None),
    "alpaca with input": ({"instruction": "q", "input": "i", "output": "a"}, {}, table("q\ni"), None),
    "alpaca with empty input": ({"instruction": "q", "input": "", "output": "a"}, {}, table("q"), None),
    "alpaca with system": (
        {"instruction": "q", "input": "i", "output": "a", "system": "s"},
        {},
        table("s\n\nq\ni", system_and(*turns("q\ni"))),
        None,
    ),
    "alpaca with empty system": ({"instruction": "q", "output": "a", "system": " "}, {}, table("q"), None),
    "alpaca with history": (
        {"instruction": "q", "input": "", "output": "a", "history": [["p", "o"]]},
        {},
        table(H, H_TURNS),
        None,
    ),
    "alpaca with empty history": (
        {"instruction": "q", "output": "a", "history": []},
        {},
        table("q"),
        None,
    ),
    "alpaca with history and system": (
        {"instruction": "q", "output": "a", "history": [["p", "o"]], "system": "s"},
        {},
        table("s\n\n" + H, system_and(*H_TURNS)),
        None,
    ),
    "history as messages": (
        {"instruction": "q", "output": "a", "history": turns("p", "o")},
        {},
        table(H, H_TURNS),
        None,
    ),
    "input beside response": (plain(input="i"), {}, table("q\ni"), None),
    "dolly": (plain(context="i", category="c"), {}, table("q\ni", category="c"), None),
    "context of a question": ({"question": "q", "context": "i", "answer": "a"}, {}, table("q\ni"), None),
    "input and context": (
        plain(input="i", context="c"),
        {},
        table("q\ni", source_context="c"),
        "'context' as 'source_context'",
    ),
    "output beside response": (
        plain(output="a", response="other"),
        {},
        table("q", source_response="other"),
        "'response' as 'source_response'",
    ),
    "named, with other parts": (
        plain(system="s", q="q", r="a"),
        {"instruction": "q", "response": "r"},
        table("q", source_instruction="q", source_response="a", source_system="s"),
        "'system' as 'source_system'",
    ),
    "named system": (
        plain(persona="s"),
        {"system": "persona"},
        table(S, S_TURNS),
        None,
    ),
    "named instruction alone": ({"q": "q", "answer": "a"}, {"instruction": "q"}, table("q"), None),
    "named response alone": (
        {"instruction": "q", "input": "i", "best": "a"},
        {"response": "best"},
        table("q", source_input="i"),
        "'input' as 'source_input'",
    ),
    "named input alone": (plain(code="i"), {"input": "code"}, table("q\ni"), None),
    "blank and case in names": (
        {" Instruction": "q", "RESPONSE ": "a"},
        {},
        table("q"),
        "' Instruction' is used as 'instruction'; the column 'RESPONSE ' is used as 'response'",
    ),
    "blank in a named column": (
        {"Q": "q", " r": "a"},
        {"instruction": "Q", "response": "r"},
        table("q"),
        "' r' is used as 'r'",
    ),
    "a name that matches exactly goes first": (
        {"Response": "other", "instruction": "q", "response": "a"},
        {},
        table("q", source_Response="other"),
        "'Response' as 'source_Response'",
    ),
    "problem": ({"problem": "q", "solution": "a"}, {}, table("q"), None),
    "prompt": ({"prompt": "q", "completion": "a"}, {}, table("q"), None),
    "prompt with system_prompt": (
        {"prompt": "q", "response": "a", "system_prompt": "s"},
        {},
        table(S, S_TURNS),
        None,
    ),
    "messages in prompt and completion": (
        {"prompt": S_TURNS, "completion": turns("a", roles=(ASSISTANT,))},
        {},
        table(S, S_TURNS),
        None,
    ),
    "input after messages": (
        {"p": S_TURNS, "r": "a", "i": "i"},
        {"instruction": "p", "response": "r", "input": "i"},
        table("s\n\nq\ni", system_and(*turns("q\ni"))),
        None,
    ),
    "CodeFeedback": ({"query": "q", "answer": "a", "lang": "py"}, {}, table("q", lang="py"), None),
    "OpenCodeInstruct": ({"input": "q", "output": "a"}, {}, table("q"), None),
    "OpenCodeReasoning": (
        {"input": "q", "output": "a", "solution": "x"},
        {},
        table("q", solution="x"),
        None,
    ),
    "OpenOrca": ({"system_prompt": "s", "question": "q", "response": "a"}, {}, table(S, S_TURNS), None),
    "Magicoder": ({"lang": "py", "problem": "q", "solution": "a"}, {}, table("q", lang="py"), None),
    "KodCode": (
        {"question": "q", "solution": "a", "conversations": share_gpt(turns("x", "y"))},
        {},
        table("q", conversations=share_gpt(turns("x", "y"))),
        None,
    ),
    "Glaive": ({"question": "q", "answer": "a"}, {}, table("q"), None),
    "MBPP": ({"task_id": 1, "text": "q", "code": "a"}, {}, table("q", task_id=1), None),
    "HumanEval": ({"prompt": "q", "canonical_solution": "a"}, {}, table("q"), None),
    "messages": ({"messages": turns("q", "a")}, {}, table("q"), None),
    "messages with system": ({"messages": system_and(*turns("q", "a"))}, {}, table(S, S_TURNS), None),
    "messages beside system": ({"messages": turns("q", "a"), "system": "s"}, {}, table(S, S_TURNS), None),
    "the same system twice": (
        {"messages": system_and(*turns("q", "a")), "system": "s"},
        {},
        table(S, S_TURNS),
        None,
    ),
    "ShareGPT": ({"conversations": share_gpt(DIALOGUE)}, {}, table(H, H_TURNS), None),
    "ShareGPT with system": (
        {"conversations": share_gpt(turns("q", "a")), "system": "s", "tools": "[]"},
        {},
        table(S, S_TURNS, tools="[]"),
        None,
    ),
    "conversation": ({"conversation": DIALOGUE}, {}, table(H, H_TURNS), None),
    "named dialogue": ({"rounds": DIALOGUE}, {"dialogue": "rounds"}, table(H, H_TURNS), None),
    "dialogue named as instruction": (
        {"rounds": DIALOGUE},
        {"instruction": "rounds"},
        table(H, H_TURNS),
        None,
    ),
    "dialogue named as both": (
        {"rounds": DIALOGUE},
        {"instruction": "rounds", "response": "rounds"},
        table(H, H_TURNS),
        None,
    ),
    "dialogue beside response": (
        {"before": H_TURNS, "r": "a"},
        {"dialogue": "before", "response": "r"},
        table(H, H_TURNS),
        None,
    ),
    "dialogue as JSON text": ({"messages": json.dumps(DIALOGUE)}, {}, table(H, H_TURNS), None),
    "other names of roles": (
        {"messages": turns("s", "q", "a", roles=("developer", "Human", "model"))},
        {},
        table(S, S_TURNS),
        None,
    ),
    "text parts": (
        {
            "messages": [
                {"role": USER, "content": [{"type": "text", "text": "q"}]},
                *turns("a", roles=(ASSISTANT,)),
            ]
        },
        {},
        table("q"),
        None,
    ),
    "an image beside text": (
        {
            "messages": [
                {"role": USER, "content": [{"type": "image"}, {"type": "text", "text": "q"}]},
                *turns("a", roles=(ASSISTANT,)),
            ]
        },
        {},
        table(
            "q",
            unused_parts='[{"column": "messages", "message": 1, "content_parts": [{"type": "image"}]}]',
        ),
        "content_parts (1 row)",
    ),
    "tool calls beside text": (
        {"messages": [*turns("q"), {"role": ASSISTANT, "content": "a", "tool_calls": [{"name": "grep"}]}]},
        {},
        table(
            "q",
            unused_parts='[{"column": "messages", "message": 2, "tool_calls": [{"name": "grep"}]}]',
        ),
        "tool_calls (1 row)",
    ),
    "turns after the response": (
        {"messages": turns("q", "a", "thanks")},
        {},
        table(
            "q",
            unused_parts='[{"column": "messages", "message": 3, "role": "user", "content": "thanks"}]',
        ),
        "turns after the response (1 row)",
    ),
    "a table of load": (
        plain(id="x", dialogue=S_TURNS, instruction=S, unused_parts="[]"),
        {},
        table(S, S_TURNS, unused_parts="[]"),
        None,
    ),
    "a table of load without dialogue in the row": (
        plain(id="x", dialogue=None, ifd=0.5),
        {},
        table("q", ifd=0.5),
        None,
    ),
}
# A column of Arrow has one type: these rows cannot be read as a table.
ROWS_ONLY = {"an image beside text", "text parts"}
FORMS = [(shape, form) for shape in SHAPES for form in ("jsonl", "frame", "dataset")]
FORMS = [pair for pair in FORMS if pair[1] != "dataset" or pair[0] not in ROWS_ONLY]


def loaded(source, **arguments) -> tuple[datasets.Dataset, list[str]]:
    """Return the table of `source`, and the warnings about unused parts."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ds = load(source, **arguments)
    return ds, [str(warning.message) for warning in caught if warning.category is UnusedPartsWarning]


def without_id(ds: datasets.Dataset) -> dict:
    return {name: value for name, value in ds[0].items() if name != "id"}


@pytest.mark.parametrize(("shape", "form"), FORMS)
def test_each_shape_becomes_the_expected_table(tmp_path, shape, form):
    row, arguments, expected, word = SHAPES[shape]
    if form == "jsonl":
        source = tmp_path / "t.jsonl"
        source.write_text(json.dumps(row))
    elif form == "frame":
        source = pd.DataFrame([row])
    else:
        source = datasets.Dataset.from_list([row])
    ds, messages = loaded(source, **arguments)
    assert without_id(ds) == expected
    assert [word in message for message in messages] == ([] if word is None else [True])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_loaded_table_survives_every_file(tmp_path, shape):
    row, arguments, _, _ = SHAPES[shape]
    ds, _ = loaded(pd.DataFrame([row]), **arguments)
    tables.write_parquet(ds, tmp_path / "t.parquet")
    tables.write_jsonl(ds, tmp_path / "t.jsonl")
    for source in (ds, ds.to_pandas(), tmp_path / "t.parquet", tmp_path / "t.jsonl"):
        again, messages = loaded(source)
        assert again[:] == ds[:]
        assert again.column_names == ds.column_names
        assert messages == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (plain(system=3), "system is a number, not text"),
        (plain(context=["c"]), "input is a list, not text (column 'context')"),
        (plain(history="p"), "history is text, not a list of (question, answer) pairs"),
        (plain(history=[["p"]]), "history is a list, not a list of (question, answer) pairs"),
        (plain(history=[["p", None]]), "a turn of history is missing (column 'history')"),
        (plain(dialogue="p"), "dialogue is text, not a list of messages"),
        (plain(dialogue=turns("o", roles=(ASSISTANT,))), "the dialogue in dialogue has no user turn"),
        (
            {"messages": [*turns("q"), {"role": ASSISTANT, "content": None, "tool_calls": [{"name": "f"}]}]},
            "the content of message 2 of messages is missing (it has tool_calls)",
        ),
        (
            {"messages": [*turns("q"), {"role": ASSISTANT, "content": [{"type": "image"}]}]},
            "the content of m",
        ),
    ],
)
def test_a_part_that_cannot_be_read_is_a_rejected_row(tmp_path, row, reason):
    keys = dict.fromkeys(row)
    good = plain() if "instruction" in row else {"messages": turns("q", "a")}
    (tmp_path / "t.jsonl").write_text(json.dumps(keys | good) + "\n" + json.dumps(row))
    with pytest.warns(UserWarning, match="1 of 2 rows rejected"):
        ds = load(tmp_path / "t.jsonl")
    assert rejected(ds)["reason"][0].startswith(reason)


def test_an_id_that_repeats_is_kept_as_source_id():
    ds, messages = loaded(pd.DataFrame([plain(id="x"), plain(id="x")]))
    assert ds["id"][:] == ["dataframe:1", "dataframe:2"]
    assert ds["source_id"][:] == ["x", "x"]
    assert "'id' as 'source_id'" in messages[0]


def test_names_in_errors_show_their_blanks():
    with pytest.raises(UserError, match="it has 'x ', ' y'"):
        load(pd.DataFrame([{"x ": "q", " y": "a"}]))
