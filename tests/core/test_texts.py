"""A dataset's text is escaped in HTML, hover text and Markdown."""

import re
from html import unescape

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import HOSTILE, Page

from workbench import figures
from workbench.core.texts import escaped, fenced, for_hover, for_markdown, one_line, visible
from workbench.widgets import ErrorPanel

ANY_TEXT = st.text() | st.text(alphabet="<>&;$`*[](){}|\\\n\r\t\x1b\u202ea#:/\"'")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("line\r\nline", "line\nline"),
        ("over\rwritten", "over␍written"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\x00b\x7f", "a␀b␡"),
        ("if user != '\u202enimda'", "if user != '⟨U+202E⟩nimda'"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("half \ud800", "half ⟨U+D800⟩"),
        ("👩\u200d💻 naïve 漢字", "👩\u200d💻 naïve 漢字"),
    ],
)
def test_invisible_characters_become_visible_signs(text, shown):
    assert visible(text) == shown


@given(ANY_TEXT)
def test_html_shows_the_text_without_markup(text):
    page = Page(f'<p title="{escaped(text)}">{escaped(text)}</p>')
    assert page.tags == ["p"]
    assert page.text == visible(text)


@given(ANY_TEXT)
def test_hover_text_has_no_markup_or_mathematics(text):
    shown = for_hover(text, 40)
    assert not re.search("[<>$\n]", shown)
    assert re.fullmatch("([^&]|&(lt|gt|amp|#36);)*", shown)
    assert unescape(shown) == one_line(text, 40)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("short", "short"),
        ("a\n  b\tc", "a b c"),
        ("exactly10c", "exactly10c"),
        ("eleven char", "eleven ch…"),
        ("x" * 1_000_000, "xxxxxxxxx…"),
        (" " * 100 + "late", "…"),
        ("", ""),
    ],
)
def test_one_line_is_cut_to_its_width(text, line):
    assert one_line(text, 10) == line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("IFD 0.4 is below max_ifd", "IFD 0.4 is below max_ifd"),
        ("a | b", "a \\| b"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[go](javascript:alert(1))", "\\[go\\](javascript:alert(1))"),
        ("see https://example.org", "see https\\://example.org"),
        ("$$x$$ *b* `c`", "\\$\\$x\\$\\$ \\*b\\* \\`c\\`"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_shows_the_text_without_markup(text, shown):
    assert for_markdown(text) == shown


@given(ANY_TEXT)
def test_no_text_closes_its_code_fence(text):
    lines = fenced(text + "\n", "yaml").split("\n")
    fence = lines[0].removesuffix("yaml")
    assert lines[-1] == fence
    assert not any(line.strip().startswith(fence) for line in lines[1:-1])


def test_token_gains_escape_their_tokens():
    tokens = pd.DataFrame({"token": [HOSTILE, "\n"], "gain": [1.0, float("nan")]})
    page = Page(figures.token_gains(tokens)._repr_html_())
    assert set(page.tags) == {"pre", "span", "div"}
    assert page.text.startswith(visible(HOSTILE) + "↵\n")


def test_error_panels_escape_and_shorten_quoted_data():
    errors = ErrorPanel()
    errors.show(ValueError(HOSTILE + "x" * 1_000_000))
    page = Page(errors.value)
    assert set(page.tags) == {"div", "b", "details", "summary", "pre"}
    assert visible(HOSTILE) in page.text
    assert len(errors.value) < 30_000
