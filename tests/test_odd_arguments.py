"""Calls of the public functions with odd arguments return, or raise a UserError that names the parameter.

WORKBENCH_FUZZ=2000 makes as many calls of each function instead of 60.
"""

import datetime
import decimal
import inspect
import os
import warnings
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import workbench as wb
from workbench.core.errors import UserError
from workbench.training import TrainingSettings

N_CALLS = int(os.environ.get("WORKBENCH_FUZZ", "60"))
N_ROWS = 12
ODD = st.one_of(
    st.sampled_from([None, True, False, "", " ", "a", "ifd-top", "0.4", b"a", "\0", "\ud800", "cpu", "auto"]),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e308, -0.0, 0.4, 1.0, 2**31, 2**63, 2**70]),
    st.sampled_from([np.int64(2), np.float32(0.4), np.bool_(True), np.nan, np.array([1]), np.array([])]),
    st.sampled_from([decimal.Decimal("0.4"), datetime.date(2026, 1, 1), 1j, object(), int, len, Path("x")]),
    st.sampled_from([[], (), {}, set(), [1, 2], ["a"], {"a": 1}, [None], [[]], range(3)]),
    st.integers(-3, 20),
    st.floats(-2, 2),
)


@pytest.fixture(scope="module")
def table():
    """A table with the columns of all stages before the selection."""
    rows = [{"instruction": f"Return {n} as text.", "response": f"return str({n})"} for n in range(N_ROWS)]
    ds = wb.load(rows)
    columns = {
        "ifd": [0.05 * (n + 1) for n in range(N_ROWS)],
        "n_tokens": [20 + n for n in range(N_ROWS)],
        "embedding": [[float(np.cos(n)), float(np.sin(n))] for n in range(N_ROWS)],
        "cluster": [n % 3 for n in range(N_ROWS)],
    }
    for name, values in columns.items():
        ds = ds.add_column(name, values)
    return ds


# Function -> arguments of a valid call, besides the table; their names and all others are varied.
CALLS = {
    "select": (wb.select, {"ratio": 0.5}),
    "compare": (wb.compare, {"strategies": ["random", "ifd-top"], "ratio": 0.5, "draws": 2}),
    "cluster": (wb.cluster, {"k": 2}),
    "pack": (wb.pack, {"max_length": 64, "batch_size": 2}),
    "mark_duplicates": (wb.mark_duplicates, {}),
    "derive": (wb.derive, {"variant": "loss-ratio"}),
    "load": (lambda ds, **arguments: wb.load(ds.to_pandas(), **arguments), {"limit": 5}),
    "TrainingSettings": (lambda ds, **arguments: TrainingSettings(**arguments), {"epochs": 1}),
    "Recipe": (lambda ds, **arguments: wb.Recipe(**arguments), {"ratio": 0.4}),
}
SIGNATURES = {"load": wb.load, "TrainingSettings": TrainingSettings, "Recipe": wb.Recipe}


def parameters(name: str) -> list[str]:
    """Names of the parameters of a function, except its first one, the table."""
    function = SIGNATURES.get(name, CALLS[name][0])
    names = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    return names if name in ("TrainingSettings", "Recipe") else names[1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_only_a_user_error_is_raised(table, name):
    call, valid = CALLS[name]

    @hypothesis.settings(max_examples=N_CALLS, deadline=None)
    @hypothesis.given(st.dictionaries(st.sampled_from(parameters(name)), ODD, min_size=1, max_size=2))
    def check(odd):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                call(table, **valid | odd)
            except UserError as error:
                message = str(error)
            else:
                message = "returned"
        assert message
        assert "\n" not in message

    check()
