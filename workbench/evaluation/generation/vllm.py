"""Decoding with vLLM, if it is installed: for large models on GPUs."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from ...core.errors import UserError
from .decoding import Decoding

_CHUNK = 512  # prompts per call; their answers are stored together


def generate_texts(
    folder: Path,
    dtype: str,
    prompts: Sequence[list[int]],
    numbers: Sequence[int],
    decoding: Decoding,
    turn_end: int | None = None,
) -> Iterator[tuple[int, str, int]]:
    """Like `decoding.generate_texts`, with the model in `folder`; yields answers in chunks.

    `turn_end` is the id of a token that ends a text in addition to the model's own.

    Raises UserError if vLLM is not installed or `folder` holds an adapter.
    """
    if find_spec("vllm") is None:
        raise UserError("backend='vllm' needs the package vllm, which is not installed: pip install vllm.")
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"backend='vllm' takes whole models and {folder} holds an adapter; merge it with wb.export first."
        )
    from vllm import LLM, SamplingParams

    # generation_config="vllm" ignores the repository's own generation settings.
    engine = LLM(model=str(folder), dtype=dtype, generation_config="vllm")
    for start in range(0, len(prompts), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        parameters = [
            SamplingParams(
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=decoding.seed + number,
                stop=list(decoding.stop),
                stop_token_ids=[] if turn_end is None else [turn_end],
            )
            for number in numbers[chunk]
        ]
        requests = engine.generate([{"prompt_token_ids": ids} for ids in prompts[chunk]], parameters)
        for position, request in enumerate(requests, start):
            yield position, request.outputs[0].text, len(request.outputs[0].token_ids)
