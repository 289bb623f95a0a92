"""Whether the model hub answers, found in seconds."""

import httpx
from huggingface_hub import constants

_SECONDS = 3.0  # how long the hub may take to answer before it counts as out of reach


def why_unreachable() -> str | None:
    """None when the hub answers, else why it is not to be asked.

    The hub's client retries an unreachable hub for half a minute a file; one short question comes first.
    """
    if constants.HF_HUB_OFFLINE:
        return "switched off by HF_HUB_OFFLINE"
    try:
        httpx.head(constants.ENDPOINT, timeout=_SECONDS)
    except httpx.HTTPError as error:
        return f"out of reach ({type(error).__name__} from {constants.ENDPOINT})"
    return None
