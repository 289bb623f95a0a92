"""Text to token ids and back: checks and repairs of tokenizers, and encoding without control tokens."""

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import UserError

# Texts that a tokenizer must give back: indentation, tabs, line ends, spaces before punctuation, non-ASCII
# characters, and the spelling of special tokens of common models.
_PROBES = (
    "def add(a, b):\n    return a + b",
    "    if a  !=  b :\n\t\treturn [a , b]\n\n\n",
    "a = 1\r\nb = 2\r\n",
    "# é, ß, 日本語, 🙂",
    "print('<|im_end|> </s> [INST] <eos>')",
)


def encode_texts(tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, without special tokens: none is added, and one spelled in a text is plain text.

    Tokens that a tokenizer adds without marking them as special keep their own id.
    """
    if not texts:
        return []
    return tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True).input_ids


def encode_prompts(tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """`encode_texts` after the tokens that the tokenizer puts before a text (its BOS), and none after it."""
    opening = _opening(tokenizer)
    return [opening + ids for ids in encode_texts(tokenizer, texts)]


def encode_continuations(tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text as it stands after another text, e.g. of a response after its prompt.

    Differs from `encode_texts` for tokenizers that put a space before every text and drop it when they decode
    (SentencePiece's dummy prefix). After a prompt that space would not be dropped, and code would begin with
    a blank.
    """
    plain = encode_texts(tokenizer, texts)
    before = _ids(tokenizer, "\n")
    if _decode(tokenizer, before + _ids(tokenizer, "x")) == "\nx":
        return plain
    joined = encode_texts(tokenizer, ["\n" + text for text in texts])
    return [
        after[len(before) :] if after[: len(before)] == before else ids
        for after, ids in zip(joined, plain, strict=True)
    ]


def _ids(tokenizer, text: str) -> list[int]:
    return encode_texts(tokenizer, [text])[0]


def _decode(tokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _opening(tokenizer) -> list[int]:
    """The tokens that the tokenizer puts before each text."""
    plain, whole = tokenizer("a", add_special_tokens=False).input_ids, tokenizer("a").input_ids
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    raise UserError(
        f"the tokenizer of {tokenizer.name_or_path!r} changes a text when it adds special tokens: 'a' is "
        f"{plain} without and {whole} with them; choose another model."
    )


def lost_text(tokenizer) -> tuple[str, str] | None:
    """The first text that `tokenizer` does not give back, and what comes back; None if there is none."""
    for text in _PROBES:
        decoded = _decode(tokenizer, _ids(tokenizer, text))
        if decoded != text:
            return text, decoded
    return None


def require_lossless(tokenizer, name: str) -> None:
    """Raises UserError if decoding the ids of a text does not give the text back."""
    if lost := lost_text(tokenizer):
        text, decoded = lost
        raise UserError(
            f"model={name!r}: its tokenizer does not keep code: {text!r} comes back as {decoded!r}. Repair "
            f"its tokenizer.json, or choose another model."
        )


def reads_file(tokenizer, tokenizer_json: Path) -> bool:
    """Whether a byte-level `tokenizer_json` gives the ids of `tokenizer`; True for other kinds of files.

    transformers builds some tokenizers from the class that their config names and not from the file. Several
    versions thereby read byte-level files as SentencePiece's and drop every space.
    """
    if not tokenizer_json.exists() or '"ByteLevel"' not in tokenizer_json.read_text(encoding="utf-8"):
        return True
    from tokenizers import Tokenizer

    file = Tokenizer.from_file(str(tokenizer_json))
    file.no_padding()
    file.no_truncation()
    file.encode_special_tokens = True
    try:
        return all(
            file.encode(text, add_special_tokens=False).ids == ids
            for text, ids in zip(_PROBES, encode_texts(tokenizer, _PROBES), strict=True)
        )
    except Exception:  # the tokenizers library raises nothing narrower, e.g. for a missing unknown token
        return False


def require_rows(tokenizer, n_rows: int, name: str) -> None:
    """Raises UserError if an id that a text, BOS or EOS can have is not below `n_rows` of the embedding.

    A padding token beyond them is replaced by the EOS: padding is masked, so any id serves.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}
    ids = {i: token for token, i in tokenizer.get_vocab().items() if i not in special or i in ends}
    if max(ids) >= n_rows:
        raise UserError(
            f"model={name!r}: token {ids[max(ids)]!r} of its tokenizer has id {max(ids)}, and the embedding "
            f"has {n_rows} rows (ids 0 to {n_rows - 1}); resize the embedding or take the tokenizer of "
            f"these weights."
        )
    if (tokenizer.pad_token_id or 0) >= n_rows:
        tokenizer.pad_token = tokenizer.eos_token
