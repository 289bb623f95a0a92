"""Escape a dataset's text for display, so that it is always shown as text and never run as markup.

There is one function per kind of markup: HTML, plotly hover text, Markdown.
"""

import re
from html import escape

# Characters that control a terminal or the text direction, or that are invisible: control characters except
# tab and newline, soft hyphen, directional marks, invisible operators, line separators, tags, surrogates.
# The joiners U+200C and U+200D stay, because scripts and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_MARKDOWN = re.compile(r"([\\`*\[\]|$~]|:(?=//))")


def visible(text: str) -> str:
    """Replace each invisible or controlling character by a visible sign: ESC by "␛", U+202E by "⟨U+202E⟩".

    Line ends become "\\n".
    """
    return _UNSEEN.sub(_sign, text.replace("\r\n", "\n"))


def _sign(match: re.Match) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\u27e8U+{code:04X}\u27e9"


def escaped(text: str) -> str:
    """Return `text` for HTML, in an element or in a quoted attribute."""
    return escape(visible(text))


def one_line(text: str, width: int) -> str:
    """Return the beginning of `text` as one line of at most `width` characters, with "…" if it is cut."""
    beginning = text[: 4 * width]  # so that a very long text costs nothing
    line = visible(" ".join(beginning.split()))
    if len(line) <= width and len(beginning) == len(text):
        return line
    return line[: width - 1] + "…"


def for_hover(text: str, width: int) -> str:
    """Return the beginning of `text` for plotly, which interprets HTML, entities and mathematics in "$"."""
    return escape(one_line(text, width), quote=False).replace("$", "&#36;")


def for_markdown(text: str) -> str:
    """Return `text` as one line of Markdown without markup or links, also for table cells."""
    line = escape(visible(" ".join(text.split())), quote=False)
    return _MARKDOWN.sub(r"\\\1", line)


def fenced(text: str, language: str) -> str:
    """Return a fenced Markdown code block whose fence is longer than any run of backticks in `text`."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{fence}"
