"""Data cut into batches, and models of the suite to fit to them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, MixedLMResults, datasets
from mixedlm_ext.errors import MixedLMError
from mixedlm_ext.sources import Source

UNEVEN = (0, 1, 1, 40, 43, 110)


class Outcome(NamedTuple):
    """What a fit leaves: results or an error, and warnings."""

    result: MixedLMResults | None
    error: tuple[str, str] | None
    warnings: list[str]


def cut(data: pd.DataFrame, cuts: Sequence[int] | int) -> Callable[[], Iterator[pd.DataFrame]]:
    """Return a function that yields the rows between cuts, or so many at a time."""
    if isinstance(cuts, int):
        cuts = range(cuts, len(data), cuts)
    ends = [0, *(min(c, len(data)) for c in cuts), len(data)]
    return lambda: (data.iloc[a:b] for a, b in itertools.pairwise(ends))


def outcome(formula: str, data: Any, **given: Any) -> Outcome:
    """Fit a model; keep what it says."""
    return outcome_of(lambda: MixedLM.from_formula(formula, data, **given).fit())


def outcome_of(fit: Callable[[], MixedLMResults]) -> Outcome:
    """Return the result of a fit, or its error, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = fit()
        except MixedLMError as error:
            return Outcome(
                None, (type(error).__name__, str(error)), [str(w.message) for w in caught]
            )
    return Outcome(result, None, [str(w.message) for w in caught])


def assert_same(found: Outcome, expected: Outcome, near: float = 1e-8) -> None:
    """Two fits of the same rows agree in all that users see, up to rounding.

    `near` is how near the estimates are where two searches come by other steps to one optimum.
    """
    assert found.error == expected.error
    assert found.warnings == expected.warnings
    r, s = found.result, expected.result
    if r is None or s is None:
        return
    assert r.objective == s.objective or abs(r.objective - s.objective) < 1e-10 * abs(s.objective)
    assert list(r.params.index) == list(s.params.index)
    size = float(np.abs(s.params).max()) if len(s.params) else 1.0
    assert_allclose(r.params, s.params, rtol=near, atol=near * size)
    assert_allclose(r.bse, s.bse, rtol=10.0 * near)
    assert_allclose(r.df_resid_inference, s.df_resid_inference, rtol=max(1e-5, 10.0 * near))
    assert (r.nobs, r.df_resid, r.df_model, r.k_constant) == (
        s.nobs, s.df_resid, s.df_model, s.k_constant
    )  # fmt: skip
    assert r.model.design.coefficient_names == s.model.design.coefficient_names
    assert_same_variances(r, s, 100.0 * near)
    assert lines(r) == lines(s)


def assert_same_variances(r: MixedLMResults, s: MixedLMResults, rtol: float = 1e-6) -> None:
    """Variances and conditional modes agree, with their labels."""
    one, two = r.varcorr(), s.varcorr()
    pd.testing.assert_frame_equal(one[["group", "name"]], two[["group", "name"]])
    largest = two["variance"].max()
    assert_allclose(one["variance"], two["variance"], rtol=rtol, atol=0.01 * rtol * largest)
    assert list(r.random_effects) == list(s.random_effects)
    for name, modes in s.random_effects.items():
        near = 1e-5 * max(float(np.abs(modes).to_numpy().max()), 1e-6)
        pd.testing.assert_frame_equal(r.random_effects[name], modes, rtol=1e-4, atol=near)


def lines(result: MixedLMResults) -> list[str]:
    """The summary without the time of day."""
    return [line for line in str(result.summary()).split("\n") if "Time:" not in line]


def one_by_one(source: type[Source], monkeypatch: Any) -> None:
    """Let no batches be put together."""
    monkeypatch.setattr(source, "few", 1)


def frame(missing: bool = False) -> pd.DataFrame:
    """Columns of many types, of 240 rows."""
    rng, n = np.random.default_rng(0), 240
    categories = ["lo", "mid", "hi", "never"]
    out = pd.DataFrame(
        {
            "y": 1000 + 3 * rng.standard_normal(n),
            "x": 2000 + rng.standard_normal(n),
            "z": rng.standard_normal(n),
            "f": rng.choice(list("abc"), n),
            "h": pd.Categorical(rng.choice(categories[:3], n), categories=categories),
            "g": rng.integers(0, 12, n),
            "k": rng.choice([f"s{i}" for i in range(9)], n),
            "w": rng.uniform(0.5, 2, n),
            "o": rng.standard_normal(n),
            "b": rng.random(n) < 0.4,
            "i": rng.integers(1, 4, n).astype("int16"),
            "c": 1.0 * rng.integers(0, 5, n),
        }
    )
    effects = rng.standard_normal((12, 2))[out["g"]]
    out["y"] += 2 * effects[:, 0] + 0.3 * (out["x"] - 2000) + effects[:, 1] * out["z"]
    row = np.arange(n)
    out = out.assign(
        g2=[f"q{11 - g:02}" for g in out["g"]], x2=2 * out["x"] - 1, one=1.0, zero=0.0, row=row,
        u="u", xg=1.0 * out["g"] ** 2, some=np.where(row % 9 == 0, 0.0, 1.0),
        holes=np.where(row % 50 == 17, 0.0, out["z"]),
    )  # fmt: skip
    if missing:
        out.loc[[3, 50, 51, 120], "z"] = np.nan
        out.loc[[7, 99], "k"] = None
        out.loc[5, "y"] = np.nan
    return out


def dataset(name: str) -> pd.DataFrame:
    """One of the package's data sets, or a frame of this file."""
    if name in ("frame", "missing"):
        return frame(name == "missing")
    data: pd.DataFrame = getattr(datasets, name).load_pandas().data
    return data
