"""Load a dataset from the Hugging Face hub or its cache, without long retries if the hub is unreachable."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets

from ..core.errors import UserError
from ..core.hub import why_unreachable


def dataset(hub_id: str, split: str) -> datasets.Dataset:
    """Return `split` of the dataset `hub_id` from the hub, or from its cache if the hub is unreachable.

    Raises UserError, with the hub's answer, if neither has it.
    """
    unreachable = why_unreachable()
    try:
        if unreachable is None:
            return datasets.load_dataset(hub_id, split=split)
        with _cache_only():
            return datasets.load_dataset(hub_id, split=split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        answer = str(error).strip().split("\n")[0]
        if unreachable is None:
            raise UserError(
                f"source={hub_id!r}, split={split!r}: no such file; the hub says: {answer}"
            ) from None
        raise UserError(
            f"source={hub_id!r}, split={split!r}: no such file; the hub is {unreachable} and its cache does "
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
