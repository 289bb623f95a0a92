"""Whether the model hub answers, found in seconds."""

from urllib.error import HTTPError
from urllib.request import Request, urlopen

from huggingface_hub import constants

_SECONDS = 3.0  # how long the hub may take to answer before it counts as out of reach


def why_unreachable() -> str | None:
    """None when the hub answers, else why it is not to be asked.

    The hub's client retries an unreachable hub for half a minute a file; one short question comes first.
    """
    if constants.HF_HUB_OFFLINE:
        return "switched off by HF_HUB_OFFLINE"
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_SECONDS).close()
    except HTTPError:
        return None  # it answered
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        return f"out of reach ({type(reason).__name__} from {constants.ENDPOINT})"
    return None
