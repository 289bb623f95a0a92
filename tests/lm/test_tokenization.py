"""Tokenizers of many families: the text that comes out equals the text that goes in."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from chats import CHAT, DIALOGUE, NO_SYSTEM, byte_level, chatty
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerFast

from workbench.complexity.pairs import pairs
from workbench.core.errors import UserError
from workbench.evaluation.generation import decoding
from workbench.evaluation.generation.decoding import continuation
from workbench.evaluation.generation.prompt_format import PromptFormat
from workbench.lm import chat, models, tokenization
from workbench.lm.prompts import TEMPLATES, generation_prompts, training_samples

CLASSES = (
    "PreTrainedTokenizerFast",
    "LlamaTokenizerFast",
    "CodeLlamaTokenizer",
    "GPT2TokenizerFast",
    "Qwen2Tokenizer",
    "GemmaTokenizerFast",
)
TEXTS = (
    "def add(a, b):\n    return a + b",
    "    return  a , b\n\n",
    "\tif x:\r\n\t\tprint('é, 日本語, 🙂')  # comment",
    "stop = '</s> <|im_end|><eos>'",
)


def sentence_piece(dummy_prefix: bool) -> PreTrainedTokenizerFast:
    """A tokenizer as SentencePiece's converted ones are: ▁ for spaces, bytes for unknown characters."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *map(chr, range(33, 127)),
    ]
    merges = [("▁", "▁"), ("▁▁", "▁▁"), ("d", "e"), ("de", "f"), ("▁", "def"), ("▁", "r"), ("▁", "=")]
    pieces += ["".join(merge) for merge in merges]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    blanks = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), blanks] if dummy_prefix else [blanks]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if dummy_prefix else []))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def adding(tokenizer: PreTrainedTokenizerFast, pattern: str) -> PreTrainedTokenizerFast:
    """`tokenizer` with a post-processor that adds special tokens, e.g. "<s> $A </s>"."""
    names = [name for name in pattern.split() if name != "$A"]
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in names]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=pattern, special_tokens=ids
    )
    return tokenizer


FAMILIES: dict[str, Callable] = {
    "byte-level": byte_level,
    "byte-level with BOS": lambda toy: adding(byte_level(toy, bos_token="<pad>"), "<pad> $A"),
    "byte-level with EOS": lambda toy: adding(byte_level(toy), "$A <eos>"),
    "byte-level with BOS and EOS": lambda toy: adding(byte_level(toy, bos_token="<pad>"), "<pad> $A <eos>"),
    "byte-level, padded by EOS": lambda toy: byte_level(toy, pad_token="<eos>"),
    "byte-level that cleans up spaces": lambda toy: byte_level(toy, clean_up_tokenization_spaces=True),
    "SentencePiece": lambda toy: sentence_piece(dummy_prefix=False),
    "SentencePiece with the dummy prefix": lambda toy: sentence_piece(dummy_prefix=True),
    "SentencePiece with BOS": lambda toy: adding(sentence_piece(dummy_prefix=True), "<s> $A"),
    "SentencePiece with BOS and EOS": lambda toy: adding(sentence_piece(dummy_prefix=True), "<s> $A </s>"),
    "chat": lambda toy: chatty(toy, CHAT),
    "chat without a system turn": lambda toy: chatty(toy, NO_SYSTEM),
    "chat whose turns end with another token than EOS": lambda toy: chatty(toy, CHAT, eos="<eos>"),
}


def saved(tokenizer, folder: Path, **config) -> Path:
    """The folder of a model with this tokenizer, whose weights are left out."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").touch()
    return folder


@pytest.fixture(params=FAMILIES)
def tokenizer(request, toy_tokenizer, tmp_path):
    return models.load_tokenizer(saved(FAMILIES[request.param](toy_tokenizer), tmp_path))


def templates(tokenizer) -> list[str]:
    return [*TEMPLATES, *(["chat"] if tokenizer.chat_template else [])]


@pytest.mark.parametrize("name", CLASSES)
def test_a_byte_level_file_is_read_as_such_whatever_class_its_config_names(name, toy_tokenizer, tmp_path):
    loaded = models.load_tokenizer(saved(toy_tokenizer, tmp_path, tokenizer_class=name))
    for text in TEXTS:
        ids = tokenization.encode_texts(loaded, [text])[0]
        assert ids == tokenization.encode_texts(toy_tokenizer, [text])[0]
        assert loaded.decode(ids) == text


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_from_its_ids(tokenizer, text):
    (ids,) = tokenization.encode_texts(tokenizer, [text])
    assert tokenizer.decode(ids) == text
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert not special & set(ids)


@pytest.mark.parametrize("response", TEXTS)
def test_a_training_sample_decodes_to_its_prompt_and_response(tokenizer, response):
    for template in templates(tokenizer):
        (sample,) = training_samples(tokenizer, ["Add."], [response], template)
        (prompt,) = generation_prompts(tokenizer, ["Add."], template)
        assert list(sample.input_ids[: sample.first_target]) == prompt
        target = list(sample.input_ids[sample.first_target :])
        assert tokenizer.eos_token_id not in sample.input_ids[sample.first_target : -1]
        assert continuation(tokenizer, prompt, target) == response
        if template != "chat":
            text = tokenizer.decode(sample.input_ids, skip_special_tokens=True)
            assert text == TEMPLATES[template].format(instruction="Add.") + response


def test_no_prompt_ends_with_a_closing_token(tokenizer):
    raw = PromptFormat.resolve(tokenizer, "raw", None, ()).prompts(tokenizer, ["def f():\n"])
    prompts = [generation_prompts(tokenizer, ["Add."], template) for template in TEMPLATES]
    for (ids,) in [raw, *prompts]:
        assert ids[-1] not in tokenizer.all_special_ids


@pytest.mark.parametrize("family", ["byte-level", "byte-level with BOS", "SentencePiece with BOS"])
def test_a_prompt_is_what_the_tokenizer_gives_if_it_adds_no_closing_token(family, toy_tokenizer):
    tokenizer = FAMILIES[family](toy_tokenizer)
    texts = ["Question:\nAdd.\n\nAnswer:\n", "  é", "x"]
    assert tokenization.encode_prompts(tokenizer, texts) == tokenizer(texts).input_ids


def test_same_tokens_scores_the_response_and_no_closing_token(tokenizer):
    for response in TEXTS:
        (pair,) = pairs(tokenizer, ["Add."], [response], 512, "same-tokens")
        prompt = list(pair.conditioned.input_ids[: pair.conditioned.first_target])
        target = list(pair.conditioned.input_ids[pair.conditioned.first_target :])
        assert list(pair.alone.input_ids[1:]) == target
        assert continuation(tokenizer, prompt, target) == response


def test_a_tokenizer_that_loses_text_is_refused_with_the_text(tmp_path):
    words = Tokenizer(WordLevel({"<eos>": 0, "def": 1}, unk_token="<eos>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = saved(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>"), tmp_path)
    with pytest.raises(UserError, match=r"model=.*does not keep code: 'def add.* comes back as 'def"):
        models.load_tokenizer(folder)


def test_a_token_beyond_the_embedding_is_refused(toy_tokenizer):
    with pytest.raises(UserError, match=r"model='toy': token .* has id 319, and the embedding has 300 rows"):
        tokenization.require_rows(toy_tokenizer, 300, "toy")


def test_padding_beyond_the_embedding_becomes_the_eos(toy_tokenizer):
    tokenizer = byte_level(toy_tokenizer, pad_token="<padding>")
    assert tokenizer.pad_token_id == 320
    tokenization.require_rows(tokenizer, 320, "toy")
    assert tokenizer.pad_token == "<eos>"


def as_rendered(tokenizer, turns: list[dict]) -> str:
    return tokenizer.apply_chat_template(turns, tokenize=False)


@pytest.mark.parametrize("eos", ["<|im_end|>", "<eos>"])
def test_a_dialogue_is_trained_as_its_template_renders_it_up_to_the_end_of_the_turn(toy_tokenizer, eos):
    tokenizer = chatty(toy_tokenizer, CHAT, eos)
    (sample,) = training_samples(tokenizer, [DIALOGUE], ["a + b + c"], "chat")
    answer = {"role": "assistant", "content": "a + b + c"}
    whole = tokenizer(as_rendered(tokenizer, [*DIALOGUE, answer]), add_special_tokens=False).input_ids
    assert list(sample.input_ids) == whole[: len(sample.input_ids)]
    assert tokenizer.decode(whole[len(sample.input_ids) :]) == "\n"
    assert tokenizer.decode(sample.input_ids[sample.first_target :]) == "a + b + c<|im_end|>"


@pytest.mark.parametrize(
    ("around", "target"),
    [(" {} <|im_end|>\n", " a + b <|im_end|>"), ("<think>\n\n</think>\n\n{}<|im_end|>", None)],
)
def test_the_target_is_what_the_template_writes_after_its_prompt(toy_tokenizer, around, target):
    before, after = around.split("{}")
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|>{{ m['content'] }}{% else %}"
        f"[A]{before}{{{{ m['content'] | trim }}}}{after}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}[A]{% endif %}"
    )
    tokenizer = chatty(toy_tokenizer, template, "<eos>")
    (sample,) = training_samples(tokenizer, ["Add."], ["a + b\n"], "chat")
    decoded = tokenizer.decode(sample.input_ids[sample.first_target :])
    assert decoded == (target or "<think>\n\n</think>\n\na + b<|im_end|>")


def test_a_special_token_spelled_in_a_turn_stays_text(toy_tokenizer):
    tokenizer = chatty(toy_tokenizer, CHAT)
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    question, response = "What is <|im_end|>?", "print('<|im_start|>')"
    (sample,) = training_samples(tokenizer, [question], [response], "chat")
    assert sample.input_ids.count(end) == 2
    assert sample.input_ids.count(start) == 2
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
    assert tokenizer.decode(sample.input_ids) + "\n" == as_rendered(tokenizer, turns)


@pytest.mark.parametrize(("template", "end"), [("chat", "<|im_end|>"), ("raw", "<eos>")])
def test_the_sample_of_a_reference_program_ends_as_an_answer_does(toy_tokenizer, template, end):
    tokenizer = chatty(toy_tokenizer, CHAT, "<eos>")
    prompt_format = PromptFormat.resolve(tokenizer, template, None, ())
    (sample,) = prompt_format.samples(tokenizer, ["def f():\n"], ["    return 1\n"])
    assert tokenizer.decode(sample.input_ids[-1:]) == end


@pytest.mark.parametrize(("eos", "end"), [("<eos>", "<|im_end|>"), ("<|im_end|>", "<|im_end|>")])
def test_the_turn_end_is_the_templates_own(toy_tokenizer, eos, end):
    tokenizer = chatty(toy_tokenizer, CHAT, eos)
    assert chat.turn_end(tokenizer) == tokenizer.convert_tokens_to_ids(end)
    assert chat.turn_end(toy_tokenizer) is None


def test_generation_stops_at_the_end_of_a_turn(toy_tokenizer):
    tokenizer = chatty(toy_tokenizer, CHAT, "<eos>")
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
    ends = tokenizer.convert_tokens_to_ids(["<eos>", "<|im_end|>"])
    assert decoding._end_tokens(model, tokenizer) == set(ends)
