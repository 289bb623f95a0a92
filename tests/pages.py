"""HTML parsed for assertions, and a text that would be harmful as HTML."""

import re
from html.parser import HTMLParser

HOSTILE = '<script>window.pwned=1</script><img src=x onerror="pwned=1"> $$x$$ &lt; \u202e\x1b[0m'


class Page(HTMLParser):
    """The `tags` and the `text` of an HTML string."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def numbers_in(html: str) -> dict[str, str]:
    """Name -> text of each number in the HTML of a panel."""
    return dict(re.findall(r'data-name="([^"]+)"><div[^>]*>[^<]*</div><div[^>]*>([^<]*)<', html))
