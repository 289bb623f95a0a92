"""The gain of the instruction on each token of a response."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..core.texts import escaped
from .look import ACCENT, KEPT


@dataclass(frozen=True)
class Html:
    """HTML that a notebook displays."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


_MAX_GAIN = 3.0  # nats at which the colour of a token is strongest


def token_gains(tokens: pd.DataFrame) -> Html:
    """A response with each token coloured by the gain of the instruction.

    The gain is the decrease of the token's negative log-likelihood in nats, shown in the tooltip. Blue: the
    instruction makes the token likelier; orange: less likely. The text is escaped, in a `pre` element, in
    which notebooks do not typeset mathematics.

    Parameters
    ----------
    tokens : `tokens` of `wb.explain`: `token` (str) and `gain` (float, NaN if the token is not compared).
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
    strength = 0.65 * min(1.0, abs(gain) / _MAX_GAIN) if known else 0.0
    tooltip = f"{gain:+.2f} nats" if known else "not compared"
    text = escaped(token).replace("\n", "\u21b5\n")
    color = f"rgba({red},{green},{blue},{strength:.2f})"
    return f'<span title="{tooltip}" style="background:{color}">{text}</span>'
