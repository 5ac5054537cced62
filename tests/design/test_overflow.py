"""Whole numbers that wrap around within an expression are refused, others are left alone."""

import numpy as np
import pandas as pd
import pytest

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import DesignError, FormulaError


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    a, g = rng.integers(10**6, 2 * 10**6, 120), rng.integers(0, 10, 120)
    y = 1e-6 * a + rng.normal(size=10)[g] + rng.normal(size=120)
    small = rng.integers(0, 60, 120)
    return pd.DataFrame({"a": a, "b": small, "g": g, "y": y})


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ I(a**4) + (1 | g)",
        "y ~ b + I((a * a) * (a * a) / 1e20) + (1 | g)",
        "y ~ np.log(a**4 * 1.0) + (1 | g)",
        "y ~ b + (0 + I(a**4) | g)",
        "I(a**4) ~ b + (1 | g)",
        "y ~ b + offset(a**4) + (1 | g)",
        "y ~ I(2**(b + 10)) + (1 | g)",
    ],
)
def test_numbers_that_wrap_around_are_refused(data: pd.DataFrame, formula: str) -> None:
    with pytest.raises(FormulaError, match=r"overflows(.|\n)*astype\(float\)"):
        MixedLM.from_formula(formula, data)
    MixedLM.from_formula(formula, data.astype({"a": float, "b": float}))


@pytest.mark.parametrize(
    "fixed",
    ["I(a**3)", "I(b // 7)", "I(b % 7)", "I(b & 3)", "C(b // 20)", "I(-b)", "I(a - b)",
     "I(b == 3)", "I(1 / (b + 1))", "center(a)", "np.where(b > 9, a, b)"],
)  # fmt: skip
def test_whole_numbers_within_range_stay(data: pd.DataFrame, fixed: str) -> None:
    MixedLM.from_formula(f"y ~ {fixed} + (1 | g)", data)


@pytest.mark.parametrize(
    ("fixed", "wraps"),
    [("I(id % 1000)", False), ("I((a * 2654435761) % 97)", False), ("I(id - id0)", False),
     ("I((id * 3) % 1000)", True), ("I((a * 10**13) % 97)", True), ("np.cbrt(id * 3)", True)],
)  # fmt: skip
def test_what_floats_lose_is_no_overflow(data: pd.DataFrame, fixed: str, wraps: bool) -> None:
    """Whole numbers beyond 2**53 have no float each, but the last digits of their own."""
    rng = np.random.default_rng(1)
    data = data.assign(id=rng.integers(2**61, 2**62, len(data)))
    data["id0"] = data["id"] - rng.integers(0, 50, len(data))
    if wraps:
        with pytest.raises(FormulaError, match="overflows"):
            MixedLM.from_formula(f"y ~ {fixed} + (1 | g)", data)
    else:
        MixedLM.from_formula(f"y ~ {fixed} + (1 | g)", data)


def test_new_rows_and_batches_are_looked_at(data: pd.DataFrame) -> None:
    result = MixedLM.from_formula("y ~ I(b**6) + (1 | g)", data).fit()
    assert np.isfinite(result.predict(data.assign(b=1000))).all()
    with pytest.raises(FormulaError, match="overflows"):
        result.predict(data.assign(b=10_000))
    predictor = result.to_predictor()
    new = data.assign(b=1000)
    np.testing.assert_allclose(predictor.predict(new), result.predict(new))
    with pytest.raises(DesignError, match=r"overflows(.|\n)*astype\(float\)"):
        predictor.predict(data.assign(b=10_000))
    with pytest.raises(FormulaError, match="overflows"):
        MixedLM.from_formula("y ~ I(a**4) + (1 | g)", lambda: iter([data[:60], data[60:]]))
