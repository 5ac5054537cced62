"""A predictor that was saved and read again says of any model and any rows what the result says."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import DesignError, DesignWarning, MixedLMError, SingularFitWarning
from mixedlm_ext.prediction.predictor import Predictor

FIXED = [
    "x",
    "a",
    "x:a",
    "a * b",
    "x * C(b, Sum)",
    "center(x)",
    "center(z):a",
    "standardize(z)",
    "np.log(z)",
    "I(x > 0)",
    "bs(x, df=4)",
    "cr(z, df=3)",
    "poly",
    "offset(0.5 * z)",
]
RANDOM = [
    "(1 | g)",
    "(x | g)",
    "(center(z) || g)",
    "(0 + b | g)",
    "(1 | g / h)",
    "(1 | g) + (x | g:h)",
    "(1 | a:g)",
    "(1 | g) + (1 | k)",
    "(cr(z, df=3) | g)",
]


@st.composite
def formulas(draw: st.DrawFn) -> str:
    fixed = draw(st.lists(st.sampled_from(FIXED), max_size=3, unique=True))
    fixed = ["x + I(x ** 2)" if term == "poly" else term for term in fixed]
    intercept = draw(st.sampled_from(["1", "0"]))
    response = draw(st.sampled_from(["y", "np.exp(y / 50)"]))
    return f"{response} ~ {' + '.join([intercept, *fixed, draw(st.sampled_from(RANDOM))])}"


def with_missing(data: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """The data with some values lost, of every column."""
    return data.mask(rng.uniform(size=data.shape) < share)


def observed(rng: np.random.Generator, n: int = 90) -> pd.DataFrame:
    """Rows of numbers, words, categories, and groups: h within g, k across."""
    g = rng.integers(0, 9, n)
    data = pd.DataFrame(
        {
            "x": rng.standard_normal(n) + 5e3 * (rng.uniform() < 0.3),
            "z": rng.uniform(0.5, 4.0, n),
            "a": rng.choice(["low", "mid", "high"], n),
            "b": pd.Categorical(rng.choice(["no", "yes"], n), categories=["yes", "no"]),
            "g": [f"g{level}" for level in g],
            "h": rng.integers(1, 4, n),
            "k": rng.choice([101, 205, 309, 412], n),
        }
    )
    noise = rng.standard_normal(9)[g] + rng.standard_normal(n)
    return data.assign(y=data["z"] + 2.0 * (data["a"] == "mid") + noise)


def other_rows(data: pd.DataFrame, rng: np.random.Generator, n: int = 25) -> pd.DataFrame:
    """Columns drawn one by one from those of the fit, some groups that it did not see."""
    new = pd.DataFrame({name: rng.choice(data[name].dropna(), n) for name in data if name != "y"})
    new.loc[rng.uniform(size=n) < 0.2, "g"] = "unseen"
    new.loc[rng.uniform(size=n) < 0.2, "k"] = 999
    new.loc[rng.uniform(size=n) < 0.2, "h"] = 17
    return new.set_index(rng.permutation(n) + 1000)


def outcome(predict: Any, *arguments: Any, **options: Any) -> Any:
    """The values, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DesignWarning)
        try:
            return predict(*arguments, **options)
        except MixedLMError as error:
            return error


@settings(deadline=None, max_examples=60)
@given(
    formula=formulas(),
    seed=st.integers(0, 10_000),
    lost=st.sampled_from([0.0, 0.0, 0.03]),
    new_levels=st.sampled_from(["population", "nan", "error"]),
)
def test_any_model(formula: str, seed: int, lost: float, new_levels: str) -> None:
    rng = np.random.default_rng(seed)
    data = with_missing(observed(rng), lost, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DesignWarning)
        warnings.simplefilter("ignore", SingularFitWarning)
        try:
            result = MixedLM.from_formula(formula, data).fit()
        except MixedLMError as error:
            event(type(error).__name__)
            assume(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictor.json"
        result.to_predictor().save(path)
        predictor = Predictor.load(path)

    fitted = result.fittedvalues
    # what x of 5,000 and its square add up to is rounded as they are
    terms = np.abs(result.model.exog) @ np.abs(result.params.to_numpy())
    assume(float(terms.max()) < 1e11)  # else columns are alike, and coefficients only rounding
    atol = 1e-9 + 1e-14 * float(terms.max())
    assert_allclose(predictor.predict(data.loc[fitted.index]), fitted, rtol=1e-9, atol=atol)
    new = with_missing(other_rows(data, rng), lost, rng)
    for which in ("conditional", "population"):
        options: dict[str, Any] = {"which": which, "new_levels": new_levels}
        theirs = outcome(result.predict, new, **options)
        ours = outcome(predictor.predict, new, **options)
        if isinstance(theirs, MixedLMError):
            event("refused")
            assert type(ours) is type(theirs)
            assert ("not seen" in str(ours)) == ("not seen" in str(theirs))
            continue
        assert ours.index.equals(theirs.index)
        assert_allclose(ours, theirs, rtol=1e-9, atol=atol)
        for row in (0, 7):
            one = outcome(predictor.predict, new.iloc[row], **options)
            if not isinstance(one, DesignError):  # a row that is not estimable is refused alone
                assert_allclose(one, theirs.iloc[row], rtol=1e-9, atol=atol)
