"""A text of a row to read: syntax in colour, and long ones cut until somebody asks for all."""

import ipywidgets as w
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from ..core.texts import escaped, visible

SHOWN = 4_000  # characters that are shown at first
COLOURED = 50_000  # characters up to which a text is coloured: beyond, a page takes seconds for it
_FORMATTER = HtmlFormatter(nowrap=True, classprefix="workbench-")

# Pygments' classes -> the colours of the reader's own editor, dark or light.
_COLOURS = {
    "k": "keyword",
    "s": "string",
    "c": "comment",
    "m": "number",
    "nf": "def",
    "nc": "def",
    "nb": "builtin",
    "nd": "meta",
    "nt": "tag",
    "na": "attribute",
    "o": "operator",
    "gh": "header",
    "gu": "header",
}
STYLE = (
    "<style>.workbench-text pre{font:13px/1.5 var(--jp-code-font-family,monospace);white-space:pre-wrap;"
    "overflow-wrap:anywhere;max-height:24em;overflow-y:auto;margin:0;padding:.5em .7em;"
    "border:1px solid #8885;border-radius:3px}"
    + "".join(
        f'.workbench-text [class^="workbench-{kind}"]{{color:var(--jp-mirror-editor-{name}-color)}}'
        for kind, name in _COLOURS.items()
    )
    + "</style>"
)


def coloured(text: str, language: str) -> str:
    """HTML of `text`, all of it, coloured as `language`; plain where nobody knows that language."""
    try:
        lexer = get_lexer_by_name("markdown" if "```" in text else language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escaped(text)
    found = highlight(visible(text), lexer, _FORMATTER)
    return found if text.endswith("\n") else found.removesuffix("\n")  # the formatter ends every line


class TextView(w.VBox):
    """`title` and the text given to `show`, of which `more` shows all where it is long."""

    def __init__(self, title: str):
        self._title, self._text, self._language = title, "", ""
        self.head, self.body = w.HTML(), w.HTML().add_class("workbench-text")
        self.more = w.Button(layout=w.Layout(width="auto", display="none"))
        self.more.on_click(lambda button: self._write(len(self._text)))
        super().__init__([self.head, self.body, self.more])

    def show(self, text: str, language: str) -> None:
        self._text, self._language = text, language
        self._write(SHOWN)

    def _write(self, n: int) -> None:
        text, total = self._text[:n], len(self._text)
        told = f"{total:,} characters" + ("" if n >= total else f", the first {n:,} shown")
        self.head.value = f'<b>{self._title}</b> <span style="opacity:.75">{told}</span>'
        shown = coloured(text, self._language) if len(text) <= COLOURED else escaped(text)
        self.body.value = f'<pre tabindex="0" aria-label="{self._title}">{shown}</pre>'
        self.more.description = f"Show all of {total:,} characters"
        self.more.layout.display = "none" if n >= total else None
