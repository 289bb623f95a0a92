"""Hub id -> dataset, in seconds also where the hub is out of reach."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets

from ..core.errors import UserError
from ..core.hub import why_unreachable


def dataset(hub_id: str, split: str) -> datasets.Dataset:
    """`split` of the data set `hub_id`, from the hub or, where that does not answer, from its cache."""
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
            f"source={hub_id!r}, split={split!r}: no such file; the hub is {unreachable} and its cache has "
            f"nothing to give ({answer}); give a path, or load it once where the hub can be reached."
        ) from None


@contextmanager
def _cache_only() -> Iterator[None]:
    """The library reads this switch at each call, not only from the environment at import."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
