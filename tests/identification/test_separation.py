"""Directions of recession: by linear programming, against what is known of small designs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedlm_ext.design import design_from_formula
from mixedlm_ext.families.choose import likelihood_of
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.identification.separation import (
    constant_terms,
    ends_of_range,
    separated_columns,
)
from mixedlm_ext.language.parser import parse_formula

F, L = sm.families, sm.families.links


def columns(formula: str, frame: pd.DataFrame, ends: np.ndarray) -> list[str]:
    design = design_from_formula(parse_formula(formula), frame, env={}, allow_saturated=True)
    return [design.x_names[j] for j in separated_columns(design, ends)]


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "y": rng.normal(size=60),
            "x": rng.normal(size=60),
            "z": rng.normal(size=60),
            "f": np.tile(list("abc"), 20),
            "g": np.repeat(list("pqrstu"), 10),
        }
    )


def test_ends_of_range() -> None:
    y = np.array([0.0, 0.5, 1.0])
    prior = PriorWeights(np.array([2.0, 2.0, 2.0]))
    assert ends_of_range(likelihood_of(F.Binomial(), y, prior)).tolist() == [-1.0, 0.0, 1.0]
    counts = likelihood_of(F.Poisson(), np.array([0.0, 3.0]), PriorWeights())
    assert ends_of_range(counts).tolist() == [-1.0, 0.0]
    assert ends_of_range(likelihood_of(F.Poisson(L.Sqrt()), y, PriorWeights())) is None
    assert ends_of_range(likelihood_of(F.Gamma(), y + 1.0, PriorWeights())) is None


def test_complete_separation_by_a_slope(frame: pd.DataFrame) -> None:
    ends = np.sign(frame["x"].to_numpy())
    assert columns("y ~ 0 + x + z + (1 | g)", frame, ends) == ["x"]
    assert "x" in columns("y ~ x + z + (1 | g)", frame, ends)
    ends[0] = -ends[0]
    assert columns("y ~ 0 + x + z + (1 | g)", frame, ends) == []


def test_quasi_separation_by_a_cell(frame: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    ends = np.where(frame["f"] == "c", 1.0, rng.choice([-1.0, 1.0], 60))
    assert columns("y ~ f + x + (1 | g)", frame, ends) == ["f[T.c]"]


def test_rows_inside_the_range_forbid_to_move(frame: pd.DataFrame) -> None:
    ends = np.sign(frame["x"].to_numpy())
    ends[:10] = 0.0  # these determine both columns
    assert columns("y ~ x + z + (1 | g)", frame, ends) == []


def test_units_do_not_matter(frame: pd.DataFrame) -> None:
    ends = np.where(frame["f"] == "c", 1.0, np.where(np.arange(60) % 2, 1.0, -1.0))
    scaled = frame.assign(x=1e9 * frame["x"], z=1e-9 * frame["z"])
    assert columns("y ~ f + x + z + (1 | g)", scaled, ends) == ["f[T.c]"]


def test_terms_constant_in_every_level(frame: pd.DataFrame) -> None:
    design = design_from_formula(parse_formula("y ~ x + (1 | g)"), frame, env={})
    by_group = np.where(frame["g"] < "s", -1.0, 1.0)
    assert constant_terms(design, by_group) == ["g"]
    by_group[0] = 1.0
    assert constant_terms(design, by_group) == []
    assert constant_terms(design, np.ones(60)) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 14))
def test_against_enumeration(seed: int, n: int) -> None:
    """With one covariate and an intercept, separation is a matter of ordering the values."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, n).astype(float)
    ends = rng.choice([-1.0, 1.0], n)
    frame = pd.DataFrame({"y": rng.normal(size=n), "x": x, "g": np.arange(n) % 2})
    if len(set(x)) < 2:
        return
    high, low = x[ends > 0], x[ends < 0]
    one_kind = not len(high) or not len(low)
    apart = one_kind or high.min() >= low.max() or high.max() <= low.min()
    assert bool(columns("y ~ x + (1 | g)", frame, ends)) == apart
