"""Decoding by vLLM, where it is installed: for large models on GPUs."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from ...core.errors import UserError
from .decoding import Decoding

_TOGETHER = 512  # answers that are stored at once


def write(
    folder: Path, dtype: str, prompts: Sequence[list[int]], numbers: Sequence[int], how: Decoding
) -> Iterator[tuple[int, str, int]]:
    """As `decoding.write`, of the model in `folder`; answers come a few hundred at a time."""
    if find_spec("vllm") is None:
        raise UserError("backend='vllm' needs the package vllm, which is not installed: pip install vllm.")
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"backend='vllm' takes whole models and {folder} holds an adapter; merge it with wb.export first."
        )
    from vllm import LLM, SamplingParams

    engine = LLM(model=str(folder), dtype=dtype, generation_config="vllm")  # none of the repository's
    for start in range(0, len(prompts), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        settings = [
            SamplingParams(
                max_tokens=how.max_new_tokens,
                temperature=how.temperature,
                top_p=how.top_p,
                seed=how.seed + number,
                stop=list(how.stop),
            )
            for number in numbers[some]
        ]
        found = engine.generate([{"prompt_token_ids": ids} for ids in prompts[some]], settings)
        for place, request in enumerate(found, start):
            yield place, request.outputs[0].text, len(request.outputs[0].token_ids)
