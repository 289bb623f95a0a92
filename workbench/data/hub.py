"""Load a dataset from the Hugging Face hub or its cache, without long retries if the hub is unreachable."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import datasets

from ..core.errors import UserError, text, yes_or_no
from ..core.hub import why_unreachable
from .rows import first_line


@dataclass(frozen=True)
class Place:
    """Which part of a dataset to read: its split, and on the hub its configuration and revision.

    With `streaming`, rows are read from the hub one by one, and nothing is stored. Raises UserError if
    a value has another type.
    """

    split: str = "train"
    name: str | None = None
    revision: str | None = None
    streaming: bool = False

    def __post_init__(self):
        for parameter, value in {"split": self.split, "config": self.name, "revision": self.revision}.items():
            if value is not None or parameter == "split":
                text(parameter, value)
        yes_or_no("streaming", self.streaming)

    def __str__(self) -> str:
        arguments = {"split": self.split, "config": self.name, "revision": self.revision}
        arguments |= {"streaming": self.streaming or None}
        return ", ".join(f"{key}={value!r}" for key, value in arguments.items() if value is not None)


def dataset(hub_id: str, place: Place) -> datasets.Dataset | datasets.IterableDataset:
    """Return a part of the dataset `hub_id` from the hub, or from its cache if the hub is unreachable.

    Raises UserError, with the hub's answer, if neither has it.
    """
    unreachable = why_unreachable()
    try:
        if unreachable is None:
            return datasets.load_dataset(hub_id, **asdict(place))
        with _cache_only():
            return datasets.load_dataset(hub_id, **asdict(place))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        answer = first_line(error)
        if unreachable is None:
            raise UserError(f"source={hub_id!r}, {place}: no such file; the hub says: {answer}") from None
        raise UserError(
            f"source={hub_id!r}, {place}: no such file; the hub is {unreachable} and its cache does "
            f"not have it ({answer}); give a path, or load it once while the hub can be reached."
        ) from None


@contextmanager
def _cache_only() -> Iterator[None]:
    """Context in which `datasets` uses only its cache. The library reads this setting at each call."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
