"""The rules of `wb.inspect` that look at one row: what it lacks, refuses, or says in which language.

Each rule returns the reason why a row is flagged, or None. They leave a row alone when in doubt.
"""

import re
from itertools import pairwise

from .code_lines import has_code

_EXCERPT = 80  # characters of a text in a reason
_PLACEHOLDER = re.compile(
    r"""(?ix) \W* (?: n/?a | todo | tbd | to\s be\s (?:done|added)
    | no\s?(?:output|input|response|answer)
    | (?:insert|add|your|enter|write)\s (?:your\s|the\s)?(?:code|answer|response)\s (?:here|goes\shere)
    )? \W*"""
)
_WORD = re.compile(r"\w")
_EMPTY_BLOCK = re.compile(r"\s*(?:```|~~~)[\w+#-]*\s*(?:```|~~~)?\s*")
# What an assistant that declines does not do. After "I can't", other verbs belong to ordinary texts.
_DECLINED = (
    r"(?:help|assist|provide|fulfil|complete|answer|generate|create|write|comply|do\s(?:that|this)|perform|execute"
    r"|run|access|browse|open|view|see|determine|process|respond|continue|offer|engage|support|produce|give|display"
    r"|understand|accurately|directly|fully|translate|identify|solve|proceed|be\sof)"
)
_CANNOT = r"(?:can(?:no|['\u2019])?t|can\snot|(?:am|['\u2019]m)\s(?:not\sable|unable)\sto|won['\u2019]t)"
_REFUSAL = re.compile(
    rf"""(?ix) \W* (?:
      (?:i['\u2019]?m|i\sam|we['\u2019]re)?\s?(?:(?:very|so|really|truly)\s)?sorry\b[^.!?\n]{{0,60}}?
        (?: \b(?:i|we)\s? {_CANNOT}\s {_DECLINED} | \bas\san\sai\b
          | \b(?:i|we)\s(?:do\snot|don['\u2019]t)\s(?:have|understand|know)\b
          | \b(?:you|there)\b[^.\n]{{0,40}}\b(?:not|no|n['\u2019]t|incomplete|unclear|missing)\b
          | \b(?:question|request|instruction|input|code)\b[^.\n]{{0,40}}
            \b(?:not|no|n['\u2019]t|incomplete|unclear|missing)\b
          | \bbut\s(?:this|that)\s(?:is|goes|request)\b )
    | i\sapologi[sz]e,?\s(?:but|for)\b[^.!?\n]{{0,80}}? \b(?:i|we)\s? (?:{_CANNOT}|do\snot|don['\u2019]t)
    | unfortunately,?\s[^.!?\n]{{0,40}}?\b(?:i|we)\s? {_CANNOT}\s {_DECLINED}
    | (?:as|since\si\sam
        |i['\u2019]?m|i\sam)\s(?:just\s|only\s)?an?\s(?:ai\b|artificial\sintelligence
        |large\slanguage|language\smodel)[^.!?\n]{{0,80}}?(?:{_CANNOT}|do\snot|don['\u2019]t|not\s(?:able|capable|possible)|unable)
    | i\s? {_CANNOT}\s (?:help|assist|provide|fulfil|comply|answer|complete)\w*\s
        (?:\w+\s)?(?:you|with|this|that|your|an?y?|the)\b
    | 很?(?:抱歉|对不起)[,\uff0c\s]*(?:但是?)?(?:作为|我(?:无法|不能))
    | (?:作为|我是)一个?(?:AI|人工智能)[^。\n]*(?:无法|不能)
    | lo\ssiento[^.\n]{{0,30}}\bno\spuedo\b | je\ssuis\sdésolée?[^.\n]{{0,30}}\bne\s(?:peux|suis)\b
    | es\stut\smir\sleid[^.\n]{{0,30}}\b(?:nicht|kein)
    )"""
)


def shorten(text: str) -> str:
    """Return the beginning of `text` on one line, as evidence."""
    line = " ".join(text[: 4 * _EXCERPT].split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def empty(instruction: str | None, response: str | None) -> str | None:
    """Say which of the two texts is missing, blank, punctuation or a placeholder such as "TODO"."""
    for name, text in (("instruction", instruction), ("response", response)):
        if not text or not text.strip():
            return f"{name} is blank"
        is_block = _EMPTY_BLOCK.fullmatch(text[:_EXCERPT])
        if is_block and len(text) <= _EXCERPT:
            return f"{name} is an empty block of code"
        # A response of symbols alone can be an answer, e.g. `**` to "Which operator is the power?".
        symbols = name == "instruction" or not text.strip().strip(".…-_ ")
        if len(text) <= _EXCERPT and _PLACEHOLDER.fullmatch(text) and (_WORD.search(text) or symbols):
            return f"{name} is {shorten(text)!r}"
    return None


def refusal(instruction: str | None, response: str | None) -> str | None:
    """Quote the beginning of a response that declines to answer and holds no code."""
    if not response or not _REFUSAL.match(response[:400]) or has_code(response):
        return None
    return shorten(response)


def no_code(instruction: str | None, response: str | None) -> str | None:
    """Quote the beginning of a response that holds no code at all."""
    return None if not response or not response.strip() or has_code(response) else shorten(response)


def turns(dialogue: list[dict] | None) -> str | None:
    """Say what is unusual in the order of the turns before a response; None for a single turn."""
    if not dialogue:
        return None
    roles = [turn["role"] for turn in dialogue]
    for number, turn in enumerate(dialogue, start=1):
        if not (turn["content"] or "").strip():
            return f"turn {number} ({turn['role']}) is blank"
    spoken = [role for role in roles if role in ("user", "assistant")]
    if spoken and spoken[0] != "user":
        return "the assistant speaks first"
    if roles[-1] == "assistant":
        return "the response follows another answer"
    for number, (before, role) in enumerate(pairwise(roles), start=2):
        if role == before and role in ("user", "assistant"):
            return f"turn {number}: {role} again"
        if role == "system" and before != "system":
            return f"turn {number}: system after {before}"
    return None
