"""The slider, the field beside it, and the menu of strategies."""

import ipywidgets as w

from ..selection import STRATEGIES, Strategy


class Controls(w.HBox):
    """`ratio` in percent, `ratio_field` linked to it, and `strategy`, one of `strategies`."""

    def __init__(self, ratio: float, strategy: str, strategies: list[str]):
        wide = {"description_width": "initial"}
        self.ratio = w.IntSlider(
            value=round(100 * ratio),
            min=1,
            max=100,
            description="Keep",
            readout=False,  # the field beside it shows the number, and takes one
            style=wide,
            layout=w.Layout(width="32em"),
        )
        self.ratio_field = w.BoundedIntText(
            value=self.ratio.value, min=1, max=100, layout=w.Layout(width="4.5em")
        )
        w.link((self.ratio, "value"), (self.ratio_field, "value"))
        self.of = w.Label(layout=w.Layout(width="11em"))
        self.strategy = w.Dropdown(
            options=strategies,
            value=strategy,
            description="Strategy",
            style=wide,
            layout=w.Layout(width="17em", margin="2px 2px 2px 1.5em"),
        )
        self.strategy.observe(self._tell, "value")
        self._tell()
        super().__init__(
            [self.ratio, self.ratio_field, self.of, self.strategy], layout=w.Layout(flex_flow="row wrap")
        )

    @property
    def chosen(self) -> Strategy:
        return STRATEGIES[self.strategy.value]

    def _tell(self, change=None) -> None:
        """What the percentage is of, which depends on the strategy."""
        self.of.value = "% of all rows" if self.chosen.ratio_of_all else "% of the eligible rows"
