"""`inspect`: apply all rules to a dataset, in one pass over its texts and one for duplicates."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..core import progress, tables
from ..core.errors import MissingFileError, UserError
from . import rules as row_rules
from .code_lines import prose
from .contamination import mark_contaminated
from .duplicates import mark_duplicates
from .flagged import FLAGS, check_rules
from .languages import ENGLISH, language
from .report import Flagged, Inspection

_FAR = 3.0  # interquartile ranges of the log length beyond the quartiles: Tukey's "far out"
_LEAST_RANGE = np.log(10) / 3  # so that lengths within a factor of 10 of the quartiles are never outliers
_LEAST_ROWS = 20  # whose quartiles mean something
_BINS = 40
_BATCH = 512  # texts that are tokenized at once
_MEANINGS = {
    "exact-duplicate": "same instruction and response as an earlier row",
    "near-duplicate": "nearly the same text as an earlier row, copies included",
    "leak": "shares text with a task of HumanEval or MBPP",
    "empty": "instruction or response is blank or a placeholder",
    "refusal": "the response declines to answer",
    "no-code": "the response holds no code",
    "turns": "unusual order of turns, or a blank one",
}
_BY_ROW = {"empty": row_rules.empty, "refusal": row_rules.refusal, "no-code": row_rules.no_code}


def inspect(
    ds: datasets.Dataset,
    rules: Sequence[str] | None = None,
    *,
    threshold: float | None = None,
    benchmarks: Sequence[str] = ("humaneval", "mbpp"),
    paths: dict | None = None,
    tokenizer=None,
    seed: int = 42,
) -> Inspection:
    """Report which rows of a dataset are better looked at before training. No row is left out.

    The rules are

    - "exact-duplicate": the same instruction and response as an earlier row, apart from outer blanks;
    - "near-duplicate": nearly the same text as an earlier row (see `wb.mark_duplicates`), copies included;
    - "leak": text of a task of HumanEval or MBPP (see `wb.mark_contaminated`). It is reported as not checked
      if the benchmarks' files are missing;
    - "empty": an instruction or response that is blank, an empty block of code or a placeholder ("TODO");
    - "refusal": a response that declines ("I'm sorry, I can't ...") and holds no code;
    - "no-code": a response without a block, a line or an inline piece of code. Printed values and
      explanations are answers without code, too;
    - "language": instruction or response is prose in another language than most instructions. Code,
      comments, and mixed or short texts do not count;
    - "length": log of the length of instruction or response (tokens of the row, where known) more than 3
      interquartile ranges outside the quartiles, and more than a factor of 10; from 20 rows on;
    - "turns": in a dialogue, a blank turn, two turns of one speaker, or an answer that is no reply.

    Parameters
    ----------
    rules : names of the rules to apply. Default: all; "turns" only if the dataset has dialogues.
    threshold, seed : of near-duplicates, as in `wb.mark_duplicates`.
    benchmarks, paths : as in `wb.mark_contaminated`.
    tokenizer : a tokenizer of transformers, which counts the tokens of instruction and response. Default: the
        column `n_tokens` of `wb.score`, if the dataset has it.

    Returns an `Inspection`: `.table` (a line per rule), `.rows` (a line per flagged row), `.lengths`,
    `.roles`, `.drop("refusal", "leak", ...)` to leave rows out, and `.marked`, the dataset with flag columns.
    `wb.figures.inspection(report)` draws it.

    Raises UserError if a column or rule is missing or unknown. Not covered: whether an answer is right.
    """
    tables.require(ds, ["instruction", "response"], "wb.load")
    has_turns = "dialogue" in ds.column_names
    if rules is None:
        rules = [rule for rule in FLAGS if rule != "turns" or has_turns]
    rules = check_rules(rules)
    if "turns" in rules:
        tables.require(ds, ["dialogue"], "wb.load from dialogues")
    flags = _by_row(ds, [rule for rule in rules if rule in _BY_ROW or rule == "language"])
    lengths = _lengths(ds, tokenizer)
    if "exact-duplicate" in rules:
        flags["exact-duplicate"] = _copies(ds)
    if "near-duplicate" in rules:
        marked = mark_duplicates(_with_ids(ds), threshold=threshold, seed=seed)
        flags["near-duplicate"] = _from_column(marked, "duplicate_of", "near-duplicate")
    if "leak" in rules:
        flags["leak"] = _leaks(ds, benchmarks, paths)
    if "length" in rules:
        flags["length"] = _outliers(lengths)
    roles = None
    if has_turns:
        flags["turns"], roles = _turns(ds)
    flags = {rule: flags[rule] for rule in FLAGS if rule in rules}
    return Inspection(ds, flags, _summary(lengths), roles, _histogram(lengths))


def _by_row(ds: datasets.Dataset, rules: list[str]) -> dict[str, Flagged]:
    """Apply the rules that look at one row, in one pass."""
    hits, spoken = defaultdict(list), {}
    checks = {rule: _BY_ROW[rule] for rule in rules if rule in _BY_ROW}
    counts = Counter()
    with progress.bar(len(ds) if rules else 0, "inspect") as bar:
        for row, (instruction, response) in enumerate(_texts(ds) if rules else ()):
            for rule, check in checks.items():
                if reason := check(instruction, response):
                    hits[rule].append((row, reason))
            if "language" in rules:
                both = language(prose(instruction or "")), language(prose(response or ""))
                counts[both[0]] += 1
                if both[0] not in (None, ENGLISH) or both[1] not in (None, ENGLISH) or ENGLISH in both:
                    spoken[row] = both
            bar.update()
    flags = {rule: _flagged(_MEANINGS[rule], hits[rule]) for rule in checks}
    if "language" in rules:
        flags["language"] = _foreign(spoken, counts)
    return flags


def _foreign(spoken: dict[int, tuple], counts: Counter) -> Flagged:
    """Flag the rows with prose in another language than most instructions."""
    counts.pop(None, None)
    main = max(counts, key=lambda name: (counts[name], name == ENGLISH), default=ENGLISH)
    hits = []
    for row, both in spoken.items():
        parts = zip(("instruction", "response"), both, strict=True)
        foreign = [f"{part}: {name}" for part, name in parts if name not in (None, main)]
        if foreign:
            hits.append((row, ", ".join(foreign)))
    return _flagged(f"prose in another language than {main}", hits)


def _copies(ds: datasets.Dataset) -> Flagged:
    """Flag the rows whose two texts equal those of an earlier row."""
    digests = np.zeros(len(ds), np.dtype("V16"))
    for row, (instruction, response) in enumerate(_texts(ds)):
        text = f"{(instruction or '').strip()}\0{(response or '').strip()}".encode("utf-8", "surrogatepass")
        digests[row] = np.void(hashlib.blake2b(text, digest_size=16).digest())
    _, first, inverse = np.unique(digests.view("S16"), return_index=True, return_inverse=True)
    rows = np.flatnonzero(first[inverse] != np.arange(len(ds)))
    ids = _ids_of(ds, first[inverse[rows]])
    return Flagged(_MEANINGS["exact-duplicate"], rows, ids)


def _leaks(ds: datasets.Dataset, benchmarks: Sequence[str], paths: dict | None) -> Flagged:
    try:
        marked = mark_contaminated(ds, benchmarks, paths=paths)
    except MissingFileError as error:
        if paths:
            raise
        return Flagged(_MEANINGS["leak"], np.zeros(0, np.int64), [], not_checked=str(error))
    return _from_column(marked, "contaminated_by", "leak")


def _turns(ds: datasets.Dataset) -> tuple[Flagged, pd.DataFrame]:
    """Flag unusual dialogues, and count the turns by role."""
    hits, turns, rows = [], Counter(), Counter()
    for row, (dialogue,) in enumerate(tables.cells(ds, ["dialogue"])):
        if reason := row_rules.turns(dialogue):
            hits.append((row, reason))
        roles = [turn["role"] for turn in dialogue] if dialogue else ["user"]
        turns.update([*roles, "assistant"])
        rows.update({*roles, "assistant"})
    counts = pd.DataFrame({"turns": turns, "rows": rows}).rename_axis("role")
    return _flagged(_MEANINGS["turns"], hits), counts.sort_values("turns", ascending=False)


def _lengths(ds: datasets.Dataset, tokenizer) -> dict[str, np.ndarray]:
    """Return the lengths of both texts in characters and, if known, of the rows in tokens, int64 [n]."""
    lengths = {}
    for name in ("instruction", "response"):
        column = ds.select_columns([name]).with_format("arrow")[:][name]
        if len(ds) and not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise UserError(f"column {name!r} holds {column.type}, not text; load the dataset with wb.load.")
        column = column.cast(pa.large_string())
        lengths[name] = pc.fill_null(pc.utf8_length(column), 0).to_numpy().astype(np.int64)
    if tokenizer is not None:
        lengths["tokens"] = _count_tokens(ds, tokenizer)
    elif "n_tokens" in ds.column_names:
        lengths["tokens"] = np.nan_to_num(tables.array(ds, "n_tokens").astype(float)).astype(np.int64)
    return lengths


def _count_tokens(ds: datasets.Dataset, tokenizer) -> np.ndarray:
    if not callable(tokenizer):
        raise UserError(f"tokenizer={tokenizer!r} must be a tokenizer of transformers, or None.")
    counts, texts = [], []
    for row, (instruction, response) in enumerate(_texts(ds), start=1):
        texts.append(f"{instruction or ''}\n{response or ''}")
        if len(texts) == _BATCH or row == len(ds):
            counts += [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
            texts = []
    return np.array(counts, np.int64)


def _outliers(lengths: dict[str, np.ndarray]) -> Flagged:
    """Flag the rows with a length far outside of the others."""
    parts = {"tokens": lengths["tokens"]} if "tokens" in lengths else lengths
    hits: dict[int, list[str]] = defaultdict(list)
    limits = []
    for name, values in parts.items():
        positive = values[values > 0]  # blank texts have a rule of their own
        if len(positive) < _LEAST_ROWS:
            continue
        low, high = np.quantile(np.log(positive), [0.25, 0.75])
        room = _FAR * max(high - low, _LEAST_RANGE)
        least, most = np.exp(low - room), np.exp(high + room)
        unit = "tokens" if name == "tokens" else f"characters in {name}"
        limits.append(f"{np.ceil(least):,.0f} to {np.floor(most):,.0f} {unit}")
        for row in np.flatnonzero((values > 0) & ((values < least) | (values > most))).tolist():
            hits[row].append(f"{values[row]:,} {unit}")
    meaning = f"outside of {', '.join(limits)}" if limits else f"from {_LEAST_ROWS} rows on"
    return _flagged(meaning, [(row, ", ".join(hits[row])) for row in sorted(hits)])


def _summary(lengths: dict[str, np.ndarray]) -> pd.DataFrame:
    columns = ["min", "5 %", "median", "95 %", "max", "sum"]
    lines = {}
    for name, values in lengths.items():
        label = name if name == "tokens" else f"{name}, characters"
        quantiles = np.quantile(values, [0, 0.05, 0.5, 0.95, 1]) if len(values) else np.zeros(5)
        lines[label] = [*quantiles.tolist(), float(values.sum())]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns)


def _histogram(lengths: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, str]:
    """Return counts, edges and unit of the lengths of rows, in bins of equal width on a log scale."""
    known = "tokens" in lengths
    values = lengths["tokens"] if known else lengths["instruction"] + lengths["response"]
    values = np.log10(np.maximum(values, 1))
    counts, edges = np.histogram(values, _BINS, (values.min(), values.max()) if len(values) else (0, 1))
    return counts, edges, "tokens" if known else "characters"


def _texts(ds: datasets.Dataset):
    return tables.cells(ds, ["instruction", "response"])


def _flagged(meaning: str, hits: list[tuple[int, str]]) -> Flagged:
    return Flagged(meaning, np.array([row for row, _ in hits], np.int64), [reason for _, reason in hits])


def _from_column(marked: datasets.Dataset, column: str, rule: str) -> Flagged:
    cells = marked.select_columns([column]).with_format("arrow")[:][column]
    rows = np.flatnonzero(cells.is_valid().to_numpy())
    return Flagged(_MEANINGS[rule], rows, cells.take(pa.array(rows)).to_pylist())


def _with_ids(ds: datasets.Dataset) -> datasets.Dataset:
    """Return `ds`, with row numbers as ids if it has none."""
    if "id" in ds.column_names:
        return ds
    return tables.with_columns(ds, {"id": [str(row) for row in range(len(ds))]}, {"id": tables.TEXT})


def _ids_of(ds: datasets.Dataset, rows: np.ndarray) -> list[str]:
    if "id" not in ds.column_names:
        return [str(row) for row in rows]
    return [str(name) for name in ds.select_columns(["id"]).select(rows)["id"][:]]
