"""A dataset's text is data: shown as text wherever it is shown, whatever it holds.

Each way of showing has its own markup, and so its own function here: HTML, a figure's hover text, Markdown.
"""

import re
from html import escape

# Characters that steer a terminal or a line of text, or that nobody sees: controls but tab and newline, soft
# hyphen, marks of direction, invisible operators, line separators, tags, halves of a character. Joiners
# (U+200C, U+200D) stay: scripts and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_MARKDOWN = re.compile(r"([\\`*\[\]|$~]|:(?=//))")


def visible(text: str) -> str:
    """`text` with each character that is not seen, or moves others, as a sign: ESC is "␛", U+202E "⟨U+202E⟩".

    Lines end with "\\n" alone.
    """
    return _UNSEEN.sub(_sign, text.replace("\r\n", "\n"))


def _sign(found: re.Match) -> str:
    code = ord(found.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\u27e8U+{code:04X}\u27e9"


def escaped(text: str) -> str:
    """`text` for HTML, in an element or in a quoted attribute."""
    return escape(visible(text))


def one_line(text: str, width: int) -> str:
    """The beginning of `text` in one line of at most `width` characters; "…" where something is left out."""
    beginning = text[: 4 * width]  # no long text is walked for a short line
    line = visible(" ".join(beginning.split()))
    if len(line) <= width and len(beginning) == len(text):
        return line
    return line[: width - 1] + "…"


def for_hover(text: str, width: int) -> str:
    """The beginning of `text` for plotly, which takes some HTML, entities, and mathematics between "$"."""
    return escape(one_line(text, width), quote=False).replace("$", "&#36;")


def for_markdown(text: str) -> str:
    """`text` in one line of Markdown, table cells too: no markup, no live link."""
    line = escape(visible(" ".join(text.split())), quote=False)
    return _MARKDOWN.sub(r"\\\1", line)


def fenced(text: str, language: str) -> str:
    """A block of code in Markdown that `text` cannot close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{fence}"
