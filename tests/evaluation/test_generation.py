"""Answers to tasks: prompts, decoding, the ends of texts, and the cache of answers."""

import json
import sys
import warnings
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
from workbench.evaluation.generation import answers, decoding, vllm
from workbench.evaluation.generation.answers import AnswerGenerator, generate_answers
from workbench.evaluation.generation.decoding import Decoding, generate_texts
from workbench.evaluation.generation.prompt_format import STOPS, PromptFormat
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


def texts(toy, prompts, settings: Decoding, batch_size: int = 48, numbers=None) -> list[str]:
    """The texts of `generate_texts` in the order of their prompts."""
    request = prompts, numbers or [0] * len(prompts), settings
    text_of = {i: text for i, text, _ in generate_texts(*toy, *request, batch_size)}
    return [text_of[i] for i in range(len(prompts))]


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
    def test_settings_out_of_range_are_refused(self, settings, message):
        with pytest.raises(UserError, match=message):
            Decoding(**settings)

    def test_decoding_shows_no_deprecation(self, toy, prompts):
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            assert len(texts(toy, prompts, Decoding(2))) == len(prompts)

    @pytest.mark.parametrize("batch_size", [1, 3, 48])
    def test_decoding_ends_at_stop_strings(self, toy, prompts, batch_size):
        whole = texts(toy, prompts, Decoding(24))
        stop = tuple(text[6:8] for text in whole[:2])
        expected = [Decoding(stop=stop).cut(text) for text in whole]
        assert expected != whole
        assert texts(toy, prompts, Decoding(24, stop=stop), batch_size) == expected
        tokens = {
            i: n for i, _, n in generate_texts(*toy, prompts, [0] * 4, Decoding(24, stop=stop), batch_size)
        }
        assert tokens[0] < 24

    @pytest.mark.parametrize("batch_size", [1, 2, 48])
    def test_a_sampled_text_does_not_depend_on_its_batch(self, toy, prompts, batch_size):
        settings = Decoding(12, temperature=1.0, top_p=0.9, seed=1)
        alone = [texts(toy, [prompt], settings)[0] for prompt in prompts]
        assert texts(toy, prompts, settings, batch_size) == alone
        assert texts(toy, prompts[::-1], settings, batch_size) == alone[::-1]

    def test_sampled_texts_differ_by_number_and_seed(self, toy, prompts):
        settings = Decoding(12, temperature=1.0)
        same = [prompts[0]] * 5
        assert len(set(texts(toy, same, settings, numbers=range(5)))) == 5
        assert len(set(texts(toy, same, settings))) == 1
        assert texts(toy, same, settings) != texts(toy, same, Decoding(12, temperature=1.0, seed=2))

    def test_samples_follow_the_probabilities(self):
        """Of 0.6, 0.3 and 0.1: temperature 0.5 squares and rescales them, top_p 0.8 drops the last."""
        scores = torch.tensor([[0.6, 0.3, 0.1]]).log().repeat(4000, 1)
        for temperature, top_p, expected in (
            (1.0, 1.0, [0.6, 0.3, 0.1]),
            (0.5, 1.0, [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46]),
            (1.0, 0.8, [2 / 3, 1 / 3, 0.0]),
        ):
            drawn = [SimpleNamespace(generator=torch.Generator().manual_seed(i)) for i in range(4000)]
            settings = Decoding(temperature=temperature, top_p=top_p)
            tokens = decoding._GumbelNoise(drawn, settings)(None, scores).argmax(-1)
            shares = torch.bincount(tokens, minlength=3) / 4000
            assert shares.tolist() == pytest.approx(expected, abs=0.03)

    def test_penalties_of_the_generation_config_are_ignored(self, toy, prompts):
        model, _ = toy
        plain = texts(toy, prompts, Decoding(12))
        before = model.generation_config.repetition_penalty
        model.generation_config.repetition_penalty = 5.0
        try:
            assert texts(toy, prompts, Decoding(12)) == plain
            assert model.generation_config.repetition_penalty == 5.0
        finally:
            model.generation_config.repetition_penalty = before

    def test_a_batch_that_does_not_fit_in_memory_is_halved(self, toy, prompts, monkeypatch):
        together, sizes = decoding._decode_together, []

        def out_of_memory(model, tokenizer, batch, settings):
            sizes.append(len(batch))
            if len(batch) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return together(model, tokenizer, batch, settings)

        plain = texts(toy, prompts, Decoding(8))
        monkeypatch.setattr(decoding, "_decode_together", out_of_memory)
        assert texts(toy, prompts, Decoding(8)) == plain
        assert sizes == [4, 2, 1, 1, 2, 1, 1]

    @pytest.mark.parametrize("architecture", ["gpt_neox", "mistral", "gemma", "bloom", "opt"])
    def test_batches_equal_single_texts_for_other_architectures(self, toy_model_dir, prompts, architecture):
        other = models.load_model(toy_model_dir(architecture), "float32", "cpu")
        alone = [texts(other, [prompt], Decoding(8))[0] for prompt in prompts]
        assert texts(other, prompts, Decoding(8)) == alone


def test_a_continuation_keeps_its_leading_space():
    """With a tokenizer that marks words by a leading space and drops it at the start of a text."""
    words = {"▁def": 0, "▁f(x):": 1, "▁": 2, "▁return": 3, "▁x": 4, "<eos>": 5}
    bare = Tokenizer(WordLevel(words, unk_token="<eos>"))
    bare.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<eos>")
    assert tokenizer.decode([2, 3, 4]) == " return x"
    assert decoding.continuation(tokenizer, [0, 1], [2, 3, 4]) == "  return x"
    assert decoding.continuation(tokenizer, [0, 1], [2, 3, 4, 5]) == "  return x"
    assert decoding.continuation(tokenizer, [0, 1], []) == ""


class TestAnswers:
    def failing_backend(self, after: int, requests: list):
        """Yields `after` answers and then fails; appends each request to `requests`."""

        def backend(prompts, numbers, settings):
            requests.append(list(zip(prompts, numbers, strict=True)))
            for i, (prompt, number) in enumerate(requests[-1]):
                if i == after:
                    raise ConnectionError
                yield i, f"{prompt}-{number}", 1

        return backend

    def test_stored_answers_are_not_generated_again(self):
        store, requests = Store("answers"), []
        prompts, settings = [[1], [2], [3]], Decoding(temperature=1.0)
        with pytest.raises(ConnectionError):
            generate_answers(self.failing_backend(4, requests), prompts, settings, 2, store, ["model"])
        resumed = generate_answers(self.failing_backend(9, requests), prompts, settings, 2, store, ["model"])
        assert resumed == [["[1]-0", "[1]-1"], ["[2]-0", "[2]-1"], ["[3]-0", "[3]-1"]]
        assert requests[1] == [([3], 0), ([3], 1)]
        cached = generate_answers(self.failing_backend(0, requests), prompts, settings, 2, store, ["model"])
        assert cached == resumed

    @pytest.mark.parametrize(
        "other",
        [
            {"settings": ["another model"]},
            {"decoding": Decoding(8)},
            {"decoding": Decoding(stop=("\n",))},
            {"decoding": Decoding(temperature=1.0)},
            {"prompts": [[1, 2], [4]]},
        ],
    )
    def test_other_settings_need_other_answers(self, other):
        store, requests = Store("answers"), []
        usual = {"prompts": [[1], [2]], "decoding": Decoding(), "settings": ["model"]}
        generate_answers(self.failing_backend(9, requests), **usual, store=store)
        generate_answers(self.failing_backend(9, requests), **usual | other, store=store)
        assert len(requests[1]) == 2

    def test_several_greedy_samples_are_refused(self):
        with pytest.raises(UserError, match=r"n_samples=2 of greedy decoding are all the same"):
            generate_answers(None, [[1]], Decoding(), 2)


class TestPromptFormat:
    def test_a_raw_prompt_is_the_code_to_continue(self, toy):
        raw = PromptFormat.resolve(toy[1], "raw", None, ("\ndef",))
        assert raw.prompts(toy[1], ["def f():\n"]) == toy[1](["def f():\n"]).input_ids
        assert raw.program("def f():\n", "    return 1") == "def f():\n    return 1"
        assert raw.stop == ("\ndef",)

    def test_a_request_in_words_opens_a_block_of_code_for_the_answer(self, toy):
        in_words = PromptFormat.resolve(toy[1], "codellama", None, ())
        (ids,) = in_words.prompts(toy[1], ["def f():\n"])
        prompt = toy[1].decode(ids)
        assert prompt.startswith("[INST] ")
        assert "```python\ndef f():\n``` [/INST]" in prompt
        assert prompt.endswith("```python\n")
        assert in_words.program("def f():\n", "def f(): pass") == "def f(): pass"
        assert in_words.stop == ("\n```",)

    @pytest.mark.parametrize(
        ("template", "trained_with", "has_chat", "resolved"),
        [
            ("auto", None, False, "raw"),
            ("auto", None, True, "chat"),
            ("auto", "auto", False, "deepseek"),
            ("auto", "auto", True, "chat"),
            ("auto", "codellama", True, "codellama"),
            ("raw", "codellama", True, "raw"),
        ],
    )
    def test_auto_prefers_the_training_template_then_the_chat_template(
        self, template, trained_with, has_chat, resolved
    ):
        tokenizer = SimpleNamespace(chat_template="x" if has_chat else None)
        assert PromptFormat.resolve(tokenizer, template, trained_with, ()).template == resolved


class TestEvaluate:
    @pytest.fixture
    def set_answers(self, monkeypatch):
        """`set_answers(texts)` makes the model give these texts."""

        def replace(texts: list[str]):
            def fixed(self, prompts, decoding, n_samples):
                return [[text] * n_samples for text in texts]

            monkeypatch.setattr(AnswerGenerator, "answers", fixed)

        return replace

    def test_a_file_of_tasks_and_its_samples_file(self, toy_model_dir, tasks_file, set_answers, tmp_path):
        set_answers([RIGHT[0], "    return a", "    retur"])
        report = evaluate(str(toy_model_dir("llama")), tasks_file, samples_to=tmp_path / "s.jsonl")
        assert list(report.tasks["base"]) == ["pass", "fail", "error"]
        assert report.versions["template"] == "raw"
        again = evaluate(samples=tmp_path / "s.jsonl", benchmark=tasks_file)
        assert list(again.tasks["base"]) == ["pass", "fail", "error"]

    @pytest.mark.usefixtures("evalplus")
    @pytest.mark.parametrize(("name", "passed"), [("humaneval", 2), ("humaneval+", 1)])
    def test_a_benchmark_is_judged_and_sanitized(
        self, toy_model_dir, set_answers, monkeypatch, tmp_path, name, passed
    ):
        self.benchmark_file(monkeypatch, tmp_path)
        set_answers([RIGHT[0], "    return a - b if a != 5 else 0", "    return a\nneg(1)"])
        report = evaluate(str(toy_model_dir("llama")), name)
        assert (report.n_passed, report.suite) == (passed, "plus" if "+" in name else "base")
        assert report.sanitized == {"changed": 1, "emptied": 0}
        assert report.versions["decoding"] == "greedy, 512 new tokens at most"
        report = evaluate(str(toy_model_dir("llama")), name, sanitize=False)
        assert report.sanitized is None

    @pytest.mark.usefixtures("evalplus")
    def test_limit_leaves_tasks_missing(self, toy_model_dir, set_answers, monkeypatch, tmp_path):
        self.benchmark_file(monkeypatch, tmp_path)
        set_answers(RIGHT[:2])
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

    def test_an_interrupted_evaluation_resumes(self, toy_model_dir, tasks_file, monkeypatch):
        written = []

        def interrupted(*request):
            for text in generate_texts(*request):
                written.append(text)
                if len(written) == 2:
                    raise KeyboardInterrupt
                yield text

        monkeypatch.setattr(answers, "generate_texts", interrupted)
        model, options = (
            str(toy_model_dir("llama")),
            {"max_new_tokens": 4, "dtype": "float32", "batch_size": 1},
        )
        with pytest.raises(KeyboardInterrupt):
            evaluate(model, tasks_file, **options)
        report = evaluate(model, tasks_file, **options)
        assert len(written) == 4  # the second was generated but not stored
        evaluate(model, tasks_file, **options)
        assert len(written) == 4
        evaluate(model, tasks_file, **options, cache=False)
        assert len(written) == 7
        assert len(report.tasks) == 3

    def test_a_run_gets_the_template_that_it_was_trained_with(self, toy_model_dir, tasks_file, tmp_path):
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
    def test_mistakes_are_named_before_anything_is_generated(
        self, toy_model_dir, tasks_file, monkeypatch, arguments, message
    ):
        monkeypatch.setattr(answers, "generate_texts", None)
        with pytest.raises(UserError, match=message):
            evaluate(str(toy_model_dir("llama")), tasks_file, **arguments)

    def test_answers_to_instructions_become_samples_too(self, toy_model_dir, set_answers, tmp_path):
        rows = table(["One."], ["x = 1"]).add_column("id", ["a"]).add_column("check", ["assert x == 1"])
        set_answers(["```python\nx = 1\n```\nDone."])
        report = evaluate(str(toy_model_dir("llama")), rows, samples_to=tmp_path / "s.jsonl", dtype="float32")
        assert report.pass_at_1 == 1
        assert json.loads((tmp_path / "s.jsonl").read_text()) == {"task_id": "a", "solution": "x = 1"}
        assert evaluate(samples=tmp_path / "s.jsonl", benchmark=rows).pass_at_1 == 1
        with pytest.raises(UserError, match="sanitize=True needs the tasks of HumanEval or MBPP"):
            evaluate(str(toy_model_dir("llama")), rows, sanitize=True)

    @pytest.mark.parametrize("value", [5, None, ["x"]])
    def test_a_prompt_must_be_text(self, toy_model_dir, tmp_path, value):
        (tmp_path / "t.jsonl").write_text(json.dumps({"task_id": "a", "test": "", "prompt": value}))
        with pytest.raises(UserError, match=r"t.jsonl, line 1: task_id, test and prompt must be texts"):
            evaluate(str(toy_model_dir("llama")), str(tmp_path / "t.jsonl"))

    def test_a_model_needs_prompts(self, toy_model_dir, tmp_path):
        (tmp_path / "t.jsonl").write_text('{"task_id": "a", "test": ""}\n')
        with pytest.raises(UserError, match=r"t.jsonl' has tasks without a prompt, which a model needs"):
            evaluate(str(toy_model_dir("llama")), str(tmp_path / "t.jsonl"))


def test_vllm_gets_all_settings(toy_model_dir, tmp_path, monkeypatch):
    """With a stand-in for vLLM, which needs a GPU."""
    received = {}

    class LLM:
        def __init__(self, **settings):
            received["engine"] = settings

        def generate(self, prompts, settings):
            received["prompts"], received["settings"] = prompts, settings
            outputs = [SimpleNamespace(text=f"t{i}", token_ids=[0] * i) for i in range(len(prompts))]
            return [SimpleNamespace(outputs=[output]) for output in outputs]

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=dict))
    monkeypatch.setattr(vllm, "find_spec", lambda name: True)
    folder = toy_model_dir("llama")
    generator = AnswerGenerator(str(folder), "float32", "cpu", backend="vllm")
    settings = Decoding(8, temperature=0.5, top_p=0.9, seed=3, stop=("\n",))
    assert generator.answers([[1, 2], [3]], settings, 2) == [["t0", "t1"], ["t2", "t3"]]
    assert received["engine"] == {"model": str(folder), "dtype": "float32", "generation_config": "vllm"}
    assert received["prompts"][1:3] == [{"prompt_token_ids": [1, 2]}, {"prompt_token_ids": [3]}]
    assert received["settings"][1] == {
        "max_tokens": 8, "temperature": 0.5, "top_p": 0.9, "seed": 4, "stop": ["\n"], "stop_token_ids": []
    }  # fmt: skip
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    with pytest.raises(UserError, match=r"backend='vllm' takes whole models and .* holds an adapter"):
        next(vllm.generate_texts(tmp_path, "float32", [[1]], [0], settings))


def test_the_command_line_passes_its_options_on(monkeypatch, tmp_path, capsys):
    arguments = {}

    def record(model, benchmark, **settings):
        arguments.update(settings, model=model, benchmark=benchmark)
        raise UserError("enough")

    monkeypatch.setattr(evaluation, "evaluate", record, raising=False)
    command = (
        f"eval --model M --benchmark mbpp+ --limit 3 --template raw --no-sanitize --output {tmp_path}/r.json"
    )
    with pytest.raises(SystemExit):
        cli.main(command.split())
    assert arguments == {
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
