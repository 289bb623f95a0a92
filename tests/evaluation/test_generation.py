"""Answers to tasks: how a model is asked, how texts are written and end, and that none is written twice."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import table
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from workbench import cli, evaluation
from workbench.core.errors import UserError
from workbench.core.store import Store
from workbench.evaluation import SandboxError, benchmarks, evaluate, level
from workbench.evaluation.generation import decoding, vllm
from workbench.evaluation.generation.answers import Writer, answers
from workbench.evaluation.generation.asking import STOPS, asking
from workbench.evaluation.generation.decoding import Decoding, write
from workbench.lm import models
from workbench.training import finetune

try:
    level()
except SandboxError as refused:
    pytest.skip(str(refused), allow_module_level=True)

TASKS = [
    {"task_id": "add", "prompt": "def add(a, b):\n", "test": "assert add(1, 2) == 3"},
    {"task_id": "sub", "prompt": "def sub(a, b):\n", "test": "assert sub(1, 2) == -1"},
    {"task_id": "neg", "prompt": "def neg(a):\n", "test": "assert neg(1) == -1"},
]
RIGHT = ["    return a + b", "    return a - b", "    return -a"]


@pytest.fixture(scope="module")
def toy(toy_model_dir):
    return models.load_model(toy_model_dir("llama"), "float32", "cpu")


@pytest.fixture
def prompts(toy):
    return toy[1](["Add two numbers.", "Reverse the string", "Hi", "def f(x):\n    return"]).input_ids


@pytest.fixture
def tasks_file(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(task) + "\n" for task in TASKS))
    return str(path)


def texts(toy, prompts, how: Decoding, batch_size: int = 48, numbers=None) -> list[str]:
    found = {i: text for i, text, _ in write(*toy, prompts, numbers or [0] * len(prompts), how, batch_size)}
    return [found[i] for i in range(len(prompts))]


class TestDecoding:
    @pytest.mark.parametrize(
        ("text", "cut"),
        [
            ("    return 1\n\ndef g():", "    return 1\n"),
            ("    return 1\nprint(f())\ndef g", "    return 1"),
            ("def f", "def f"),
            ("", ""),
        ],
    )
    def test_a_text_ends_before_its_first_stop_string(self, text, cut):
        assert Decoding(stop=STOPS["humaneval"]).cut(text) == cut

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_new_tokens": 0}, "max_new_tokens=0 must be a whole number of at least 1"),
            ({"temperature": -1.0}, r"temperature=-1.0 must be 0 \(greedy\) or above"),
            ({"temperature": float("nan")}, "temperature=nan must be 0"),
            ({"top_p": 0.0}, "top_p=0.0 must be above 0 and at most 1"),
            ({"top_p": 1.5}, "top_p=1.5 must be above 0 and at most 1"),
        ],
    )
    def test_what_cannot_be_done(self, settings, message):
        with pytest.raises(UserError, match=message):
            Decoding(**settings)

    @pytest.mark.parametrize("batch_size", [1, 3, 48])
    def test_writing_stops_at_stop_strings(self, toy, prompts, batch_size):
        whole = texts(toy, prompts, Decoding(24))
        stop = tuple(text[6:8] for text in whole[:2])
        expected = [Decoding(stop=stop).cut(text) for text in whole]
        assert expected != whole
        assert texts(toy, prompts, Decoding(24, stop=stop), batch_size) == expected
        tokens = {i: n for i, _, n in write(*toy, prompts, [0] * 4, Decoding(24, stop=stop), batch_size)}
        assert tokens[0] < 24

    @pytest.mark.parametrize("batch_size", [1, 2, 48])
    def test_a_draw_does_not_depend_on_its_neighbours(self, toy, prompts, batch_size):
        how = Decoding(12, temperature=1.0, top_p=0.9, seed=1)
        alone = [texts(toy, [prompt], how)[0] for prompt in prompts]
        assert texts(toy, prompts, how, batch_size) == alone
        assert texts(toy, prompts[::-1], how, batch_size) == alone[::-1]

    def test_draws_differ_by_number_and_seed(self, toy, prompts):
        how = Decoding(12, temperature=1.0)
        same = [prompts[0]] * 5
        assert len(set(texts(toy, same, how, numbers=range(5)))) == 5
        assert len(set(texts(toy, same, how))) == 1
        assert texts(toy, same, how) != texts(toy, same, Decoding(12, temperature=1.0, seed=2))

    def test_draws_follow_the_probabilities(self):
        """Logits log(0.6), log(0.3), log(0.1); at temperature 0.5 squared and rescaled; top_p 0.8 drops the
        last."""
        scores = torch.tensor([[0.6, 0.3, 0.1]]).log().repeat(4000, 1)
        for temperature, top_p, expected in (
            (1.0, 1.0, [0.6, 0.3, 0.1]),
            (0.5, 1.0, [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46]),
            (1.0, 0.8, [2 / 3, 1 / 3, 0.0]),
        ):
            drawn = [SimpleNamespace(draws=torch.Generator().manual_seed(i)) for i in range(4000)]
            how = Decoding(temperature=temperature, top_p=top_p)
            tokens = decoding._Draws(drawn, how)(None, scores).argmax(-1)
            shares = torch.bincount(tokens, minlength=3) / 4000
            assert shares.tolist() == pytest.approx(expected, abs=0.03)

    def test_the_models_own_penalties_play_no_part(self, toy, prompts):
        model, _ = toy
        plain = texts(toy, prompts, Decoding(12))
        before = model.generation_config.repetition_penalty
        model.generation_config.repetition_penalty = 5.0
        try:
            assert texts(toy, prompts, Decoding(12)) == plain
            assert model.generation_config.repetition_penalty == 5.0
        finally:
            model.generation_config.repetition_penalty = before

    def test_what_memory_does_not_hold_is_halved(self, toy, prompts, monkeypatch):
        together, sizes = decoding._decode_together, []

        def little(model, tokenizer, some, how):
            sizes.append(len(some))
            if len(some) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return together(model, tokenizer, some, how)

        plain = texts(toy, prompts, Decoding(8))
        monkeypatch.setattr(decoding, "_decode_together", little)
        assert texts(toy, prompts, Decoding(8)) == plain
        assert sizes == [4, 2, 1, 1, 2, 1, 1]

    @pytest.mark.parametrize("architecture", ["gpt_neox", "mistral", "gemma", "bloom", "opt"])
    def test_other_architectures(self, toy_model_dir, prompts, architecture):
        other = models.load_model(toy_model_dir(architecture), "float32", "cpu")
        alone = [texts(other, [prompt], Decoding(8))[0] for prompt in prompts]
        assert texts(other, prompts, Decoding(8)) == alone


def test_the_first_space_of_a_continuation_stays():
    """A tokenizer that marks words by the space before them, and drops it where a text begins."""
    words = {"▁def": 0, "▁f(x):": 1, "▁": 2, "▁return": 3, "▁x": 4, "<eos>": 5}
    bare = Tokenizer(WordLevel(words, unk_token="<eos>"))
    bare.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<eos>")
    assert tokenizer.decode([2, 3, 4]) == " return x"
    assert decoding.continuation(tokenizer, [0, 1], [2, 3, 4]) == "  return x"
    assert decoding.continuation(tokenizer, [0, 1], [2, 3, 4, 5]) == "  return x"
    assert decoding.continuation(tokenizer, [0, 1], []) == ""


class TestAnswers:
    def broken(self, after: int, asked: list):
        """Writes `after` answers and then fails; notes what it was asked."""

        def write(prompts, numbers, how):
            asked.append(list(zip(prompts, numbers, strict=True)))
            for i, (prompt, number) in enumerate(asked[-1]):
                if i == after:
                    raise ConnectionError
                yield i, f"{prompt}-{number}", 1

        return write

    def test_what_is_written_is_not_written_again(self):
        store, asked = Store("answers"), []
        prompts, how = [[1], [2], [3]], Decoding(temperature=1.0)
        with pytest.raises(ConnectionError):
            answers(self.broken(4, asked), prompts, how, 2, store, ["model"])
        found = answers(self.broken(9, asked), prompts, how, 2, store, ["model"])
        assert found == [["[1]-0", "[1]-1"], ["[2]-0", "[2]-1"], ["[3]-0", "[3]-1"]]
        assert asked[1] == [([3], 0), ([3], 1)]
        assert answers(self.broken(0, asked), prompts, how, 2, store, ["model"]) == found

    @pytest.mark.parametrize(
        "other",
        [
            {"settings": ["another model"]},
            {"how": Decoding(8)},
            {"how": Decoding(stop=("\n",))},
            {"how": Decoding(temperature=1.0)},
            {"asked": [[1, 2], [4]]},
        ],
    )
    def test_other_settings_are_other_answers(self, other):
        store, seen = Store("answers"), []
        usual = {"asked": [[1], [2]], "how": Decoding(), "settings": ["model"]}
        answers(self.broken(9, seen), **usual, store=store)
        answers(self.broken(9, seen), **usual | other, store=store)
        assert len(seen[1]) == 2

    def test_several_greedy_samples_are_refused(self):
        with pytest.raises(UserError, match=r"n_samples=2 of greedy decoding are all the same"):
            answers(None, [[1]], Decoding(), 2)


class TestAsking:
    def test_raw_goes_on_with_the_task(self, toy):
        way = asking(toy[1], "raw", None, ("\ndef",))
        assert way.prompts(toy[1], ["def f():\n"]) == toy[1](["def f():\n"]).input_ids
        assert way.program("def f():\n", "    return 1") == "def f():\n    return 1"
        assert way.stop == ("\ndef",)

    def test_in_words_the_answer_begins_inside_a_block_of_code(self, toy):
        way = asking(toy[1], "codellama", None, ())
        (ids,) = way.prompts(toy[1], ["def f():\n"])
        asked = toy[1].decode(ids)
        assert asked.startswith("[INST] ")
        assert "```python\ndef f():\n``` [/INST]" in asked
        assert asked.endswith("```python\n")
        assert way.program("def f():\n", "def f(): pass") == "def f(): pass"
        assert way.stop == ("\n```",)

    @pytest.mark.parametrize(
        ("template", "trained_with", "has_chat", "found"),
        [
            ("auto", None, False, "raw"),
            ("auto", None, True, "chat"),
            ("auto", "auto", False, "deepseek"),
            ("auto", "auto", True, "chat"),
            ("auto", "codellama", True, "codellama"),
            ("raw", "codellama", True, "raw"),
        ],
    )
    def test_auto(self, template, trained_with, has_chat, found):
        tokenizer = SimpleNamespace(chat_template="x" if has_chat else None)
        assert asking(tokenizer, template, trained_with, ()).template == found


class TestEvaluate:
    @pytest.fixture
    def knows(self, monkeypatch):
        """Let the model answer this."""

        def answer(found: list[str]):
            monkeypatch.setattr(Writer, "answers", lambda self, asked, how, n: [[text] * n for text in found])

        return answer

    def test_own_tasks(self, toy_model_dir, tasks_file, knows, tmp_path):
        knows([RIGHT[0], "    return a", "    retur"])
        report = evaluate(str(toy_model_dir("llama")), tasks_file, samples_to=tmp_path / "s.jsonl")
        assert list(report.tasks["base"]) == ["pass", "fail", "error"]
        assert report.versions["template"] == "raw"
        again = evaluate(samples=tmp_path / "s.jsonl", benchmark=tasks_file)
        assert list(again.tasks["base"]) == ["pass", "fail", "error"]

    @pytest.mark.usefixtures("evalplus")
    @pytest.mark.parametrize(("name", "passed"), [("humaneval", 2), ("humaneval+", 1)])
    def test_a_benchmark(self, toy_model_dir, knows, monkeypatch, tmp_path, name, passed):
        self.benchmark_file(monkeypatch, tmp_path)
        knows([RIGHT[0], "    return a - b if a != 5 else 0", "    return a\nneg(1)"])
        report = evaluate(str(toy_model_dir("llama")), name)
        assert (report.n_passed, report.suite) == (passed, "plus" if "+" in name else "base")
        assert report.sanitized == {"changed": 1, "emptied": 0}
        assert report.versions["decoding"] == "greedy, 512 new tokens at most"
        report = evaluate(str(toy_model_dir("llama")), name, sanitize=False)
        assert report.sanitized is None

    @pytest.mark.usefixtures("evalplus")
    def test_limit_is_partial_and_says_so(self, toy_model_dir, knows, monkeypatch, tmp_path):
        self.benchmark_file(monkeypatch, tmp_path)
        knows(RIGHT[:2])
        report = evaluate(
            str(toy_model_dir("llama")), "humaneval", limit=2, n_samples=3, temperature=0.5, sanitize=False
        )
        assert report.pass_at(3) == 1
        assert len(report.tasks) == 6
        assert report.missing == ("neg",)

    def benchmark_file(self, monkeypatch, tmp_path):
        path = tmp_path / "HumanEvalPlus.jsonl"
        inputs = {"base_input": [[1, 2], [3, 3]], "plus_input": [[5, 1]], "atol": 0}
        rows = [
            task | inputs | {"entry_point": task["task_id"], "canonical_solution": solution + "\n"}
            for task, solution in zip(TASKS, RIGHT, strict=True)
        ]
        rows[2] |= {"base_input": [[1]], "plus_input": [[2]]}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        monkeypatch.setenv(benchmarks.SOURCES["humaneval"].override, str(path))

    def test_a_killed_evaluation_goes_on(self, toy_model_dir, tasks_file, monkeypatch):
        written, write = [], decoding.write

        def counted(*what):
            for found in write(*what):
                written.append(found)
                if len(written) == 2:
                    raise KeyboardInterrupt
                yield found

        monkeypatch.setattr(decoding, "write", counted)
        model, few = str(toy_model_dir("llama")), {"max_new_tokens": 4, "dtype": "float32", "batch_size": 1}
        with pytest.raises(KeyboardInterrupt):
            evaluate(model, tasks_file, **few)
        report = evaluate(model, tasks_file, **few)
        assert len(written) == 4  # the second was written and not stored
        evaluate(model, tasks_file, **few)
        assert len(written) == 4
        evaluate(model, tasks_file, **few, cache=False)
        assert len(written) == 7
        assert len(report.tasks) == 3

    def test_a_run_is_asked_as_it_was_trained(self, toy_model_dir, tasks_file, tmp_path):
        rows = table(["Hi"], ["x"])
        settings = {"template": "codellama", "dtype": "float32", "device": "cpu"}
        run = finetune(rows, toy_model_dir("llama"), tmp_path / "run", **settings).wait()
        report = evaluate(run, tasks_file, max_new_tokens=2, limit=1)
        assert report.versions["template"] == "codellama"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"template": "alpaca"}, "template='alpaca' is not known; choose one of auto, .*raw"),
            ({"backend": "tgi"}, "backend='tgi' is not known; choose one of transformers, vllm"),
            ({"backend": "vllm"}, "backend='vllm' needs the package vllm, which is not installed"),
            ({"n_samples": 2}, "n_samples=2 of greedy decoding are all the same; set a temperature"),
            ({"n_samples": 0}, "n_samples=0 must be a whole number"),
            ({"sanitize": True}, "sanitize=True needs the tasks of HumanEval or MBPP"),
            ({"samples_to": "no/such.jsonl"}, "samples_to='no/such.jsonl': its folder"),
        ],
    )
    def test_mistakes_are_named_before_anything_is_written(
        self, toy_model_dir, tasks_file, monkeypatch, arguments, message
    ):
        monkeypatch.setattr(decoding, "write", None)
        with pytest.raises(UserError, match=message):
            evaluate(str(toy_model_dir("llama")), tasks_file, **arguments)

    def test_answers_to_instructions_are_written_too(self, toy_model_dir, knows, tmp_path):
        rows = table(["One."], ["x = 1"]).add_column("id", ["a"]).add_column("check", ["assert x == 1"])
        knows(["```python\nx = 1\n```\nDone."])
        report = evaluate(str(toy_model_dir("llama")), rows, samples_to=tmp_path / "s.jsonl", dtype="float32")
        assert report.pass_at_1 == 1
        assert json.loads((tmp_path / "s.jsonl").read_text()) == {"task_id": "a", "solution": "x = 1"}
        assert evaluate(samples=tmp_path / "s.jsonl", benchmark=rows).pass_at_1 == 1
        with pytest.raises(UserError, match="sanitize=True needs the tasks of HumanEval or MBPP"):
            evaluate(str(toy_model_dir("llama")), rows, sanitize=True)

    @pytest.mark.parametrize("value", [5, None, ["x"]])
    def test_a_task_that_is_no_text(self, toy_model_dir, tmp_path, value):
        (tmp_path / "t.jsonl").write_text(json.dumps({"task_id": "a", "test": "", "prompt": value}))
        with pytest.raises(UserError, match=r"t.jsonl, line 1: task_id, test and prompt must be texts"):
            evaluate(str(toy_model_dir("llama")), str(tmp_path / "t.jsonl"))

    def test_tasks_without_prompts(self, toy_model_dir, tmp_path):
        (tmp_path / "t.jsonl").write_text('{"task_id": "a", "test": ""}\n')
        with pytest.raises(UserError, match=r"t.jsonl' has tasks without a prompt, which a model needs"):
            evaluate(str(toy_model_dir("llama")), str(tmp_path / "t.jsonl"))


def test_vllm_is_told_all_settings(toy_model_dir, tmp_path, monkeypatch):
    """A stand-in for the package, which needs a GPU: what is passed on, and what comes back."""
    told = {}

    class LLM:
        def __init__(self, **settings):
            told["engine"] = settings

        def generate(self, prompts, settings):
            told["prompts"], told["settings"] = prompts, settings
            outputs = [SimpleNamespace(text=f"t{i}", token_ids=[0] * i) for i in range(len(prompts))]
            return [SimpleNamespace(outputs=[output]) for output in outputs]

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=dict))
    monkeypatch.setattr(vllm, "find_spec", lambda name: True)
    folder = toy_model_dir("llama")
    writer = Writer(str(folder), "float32", "cpu", backend="vllm")
    how = Decoding(8, temperature=0.5, top_p=0.9, seed=3, stop=("\n",))
    assert writer.answers([[1, 2], [3]], how, 2) == [["t0", "t1"], ["t2", "t3"]]
    assert told["engine"] == {"model": str(folder), "dtype": "float32", "generation_config": "vllm"}
    assert told["prompts"][1:3] == [{"prompt_token_ids": [1, 2]}, {"prompt_token_ids": [3]}]
    assert told["settings"][1] == {
        "max_tokens": 8, "temperature": 0.5, "top_p": 0.9, "seed": 4, "stop": ["\n"]
    }  # fmt: skip
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    with pytest.raises(UserError, match=r"backend='vllm' takes whole models and .* holds an adapter"):
        next(vllm.write(tmp_path, "float32", [[1]], [0], how))


def test_the_command_line_passes_what_it_was_given(monkeypatch, tmp_path, capsys):
    given = {}

    def taken(model, benchmark, **settings):
        given.update(settings, model=model, benchmark=benchmark)
        raise UserError("enough")

    monkeypatch.setattr(evaluation, "evaluate", taken, raising=False)
    command = (
        f"eval --model M --benchmark mbpp+ --limit 3 --template raw --no-sanitize --output {tmp_path}/r.json"
    )
    with pytest.raises(SystemExit):
        cli.main(command.split())
    assert given == {
        "model": "M",
        "benchmark": "mbpp+",
        "samples": None,
        "limit": 3,
        "template": "raw",
        "sanitize": False,
        "samples_to": tmp_path / "r.samples.jsonl",
    }
    with pytest.raises(SystemExit):
        cli.main(["eval", "--benchmark", "mbpp"])
    assert "one of the arguments --model --samples is required" in capsys.readouterr().err
