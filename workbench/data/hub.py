"""Hub id -> dataset, in seconds also where the hub is out of reach."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import httpx
from huggingface_hub import constants

from ..errors import UserError

_HUB_SECONDS = 3.0  # how long the hub may take to answer before it counts as out of reach


def dataset(hub_id: str, split: str) -> datasets.Dataset:
    """`split` of the data set `hub_id`, from the hub or, where that does not answer, from its cache."""
    unreachable = _why_unreachable()
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


def _why_unreachable() -> str | None:
    if constants.HF_HUB_OFFLINE:
        return "switched off by HF_HUB_OFFLINE"
    # The client retries an unreachable hub for half a minute a file; one short question comes first.
    try:
        httpx.head(constants.ENDPOINT, timeout=_HUB_SECONDS)
    except httpx.HTTPError as error:
        return f"out of reach ({type(error).__name__} from {constants.ENDPOINT})"
    return None


@contextmanager
def _cache_only() -> Iterator[None]:
    """The library reads this switch at each call, not only from the environment at import."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
