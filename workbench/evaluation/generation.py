"""Instructions -> completions: batched greedy decoding with the training template."""

import ast
import re
import warnings
from collections.abc import Sequence

import torch

from .. import progress, prompts

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


@torch.inference_mode()
def generate(
    model,
    tokenizer,
    instructions: Sequence[str],
    *,
    template: str = "auto",
    max_new_tokens: int = 512,
    batch_size: int = 48,
) -> list[str]:
    """One greedy completion for each instruction, in their order.

    Prompts of similar length share a batch, padded on the left so that all begin to write at once.
    """
    asked = prompts.generation_prompts(tokenizer, instructions, template)
    order = sorted(range(len(asked)), key=lambda i: -len(asked[i]))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    written = [""] * len(asked)
    with progress.bar(len(asked), "generate", unit="task") as bar:
        for start in range(0, len(order), batch_size):
            some = order[start : start + batch_size]
            width = len(asked[some[0]])
            ids = torch.tensor(
                [[pad] * (width - len(asked[i])) + asked[i] for i in some], device=model.device
            )
            mask = torch.tensor(
                [[0] * (width - len(asked[i])) + [1] * len(asked[i]) for i in some], device=model.device
            )
            out = model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=pad,
            )
            for i, tokens in zip(some, out[:, width:], strict=True):
                written[i] = tokenizer.decode(tokens, skip_special_tokens=True)
            bar.update(len(some))
    return written


def extract_code(completion: str) -> str:
    """The code of a completion: its first fenced block where it has one, and of that (else of all of it) the
    longest beginning, in whole lines, that is valid Python; all of it where nothing is.

    Models go on after their answer, with examples cut short or prose; what stands before is what was asked
    for.
    """
    fenced = _FENCE.search(completion)
    lines = (fenced.group(1) if fenced else completion).splitlines()
    for end in range(len(lines), 0, -1):
        if (code := "\n".join(lines[:end])).strip() and _is_python(code):
            return code
    return "\n".join(lines)


def _is_python(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in someone else's strings
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
