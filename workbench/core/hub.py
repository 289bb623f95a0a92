"""Check within seconds whether the Hugging Face hub can be reached."""

from urllib.error import HTTPError
from urllib.request import Request, urlopen

from huggingface_hub import constants

_TIMEOUT_SECONDS = 3.0


def why_unreachable() -> str | None:
    """Return None if the hub answers, else the reason why it cannot be used.

    Call this before the hub's client, which retries for about 30 seconds per file when the hub is down.
    """
    if constants.HF_HUB_OFFLINE:
        return "switched off by HF_HUB_OFFLINE"
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_TIMEOUT_SECONDS).close()
    except HTTPError:
        return None  # an error status is an answer, too
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        return f"out of reach ({type(reason).__name__} from {constants.ENDPOINT})"
    return None
