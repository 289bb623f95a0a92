"""Tokenizers and models with a chat template, and a dialogue."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}" + CHAT
)
DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Sum two?"},
    {"role": "assistant", "content": "a + b"},
    {"role": "user", "content": "Now three."},
]


def byte_level(toy_tokenizer, **special_tokens) -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(toy_tokenizer.backend_tokenizer.to_str())
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **({"eos_token": "<eos>", "pad_token": "<pad>"} | special_tokens)
    )


def chatty(toy_tokenizer, template: str, eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    tokenizer = byte_level(toy_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.eos_token = eos
    tokenizer.chat_template = template
    return tokenizer


def chat_model(
    plain_model: Path, toy_tokenizer, folder: Path, eos: str = "<eos>", template: str = CHAT
) -> Path:
    """The folder of a model like that in `plain_model`, whose tokenizer has the chat `template`."""
    AutoModelForCausalLM.from_pretrained(plain_model).save_pretrained(folder)
    chatty(toy_tokenizer, template, eos).save_pretrained(folder)
    return folder
