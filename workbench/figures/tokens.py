"""What the instruction gains on each token of a response."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..core.texts import escaped
from .look import ACCENT, KEPT


@dataclass(frozen=True)
class Html:
    """A piece of HTML that a notebook shows."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


_MOST_GAIN = 3.0  # nats from which on a token's colour is full


def token_gains(tokens: pd.DataFrame) -> Html:
    """The text of a response, each token coloured by what the instruction gains on it.

    `tokens` is that of `wb.explain`. Blue: the instruction makes the token likelier. Orange: less likely. The
    number is in the tooltip. The text is escaped, and in a `pre`, where no notebook looks for mathematics.
    """
    spans = [_token_span(*row) for row in tokens[["token", "gain"]].itertuples(index=False)]
    return Html(
        f'<pre style="font:13px/1.9 ui-monospace,monospace;white-space:pre-wrap">{"".join(spans)}</pre>'
        '<div style="font:12px system-ui,sans-serif;opacity:.75;margin-top:.6em">'
        "blue: likelier with the instruction, orange: less likely, plain: no difference</div>"
    )


def _token_span(token: str, gain: float) -> str:
    known = np.isfinite(gain)
    red, green, blue = (int(KEPT[i : i + 2], 16) for i in (1, 3, 5))
    if known and gain < 0:
        red, green, blue = (int(ACCENT[i : i + 2], 16) for i in (1, 3, 5))
    strength = 0.65 * min(1.0, abs(gain) / _MOST_GAIN) if known else 0.0
    told = f"{gain:+.2f} nats" if known else "not compared"
    shown = escaped(token).replace("\n", "\u21b5\n")
    return f'<span title="{told}" style="background:rgba({red},{green},{blue},{strength:.2f})">{shown}</span>'
