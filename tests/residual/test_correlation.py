"""What every correlation of rows promises, against its dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext.residual.correlation import CorrelatedRows, correlated_rows
from mixedlm_ext.residual.kinds import (
    KINDS,
    Autoregressive,
    ContinuousAutoregressive,
    CorrelationKind,
    Exchangeable,
)

Array = np.ndarray

WORDS = ["none", *KINDS]
R_VALUES = {"none": [0.0], "ar1": [-0.7, 0.0, 0.6], "car1": [0.0, 0.3, 0.9], "cs": [-0.1, 0.0, 0.8]}
CASES = [(word, r) for word in WORDS for r in R_VALUES[word]]


def rows_of(word: str, seed: int = 3) -> tuple[CorrelatedRows, Array, Array]:
    """Shuffled rows of groups of one to five, with gaps."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(6), [4, 1, 5, 2, 3, 4])
    at = np.concatenate([rng.permutation(8)[:m] for m in [4, 1, 5, 2, 3, 4]]).astype(float)
    if word == "car1":
        at = at + rng.uniform(0, 0.4, len(at))
    order = rng.permutation(len(codes))
    codes, at = codes[order], at[order]
    if word == "none":
        return correlated_rows(None, len(codes), None, None), codes, at
    gaps = np.concatenate([np.diff(np.sort(at[codes == g])) for g in range(6)])
    kind = KINDS[word](float(gaps.min()) if word == "car1" else 1.0, 5)
    return correlated_rows(kind, len(codes), codes, at), codes, at


def dense(word: str, r: float, codes: Array, at: Array, unit: float) -> Array:
    """C, entry by entry."""
    n = len(codes)
    out = np.eye(n)
    for i in range(n):
        for j in range(n):
            if i != j and codes[i] == codes[j] and word != "none":
                h = abs(at[i] - at[j])
                out[i, j] = r if word == "cs" else r ** (h / unit if word == "car1" else round(h))
    return out


def unit_of(rows: CorrelatedRows) -> float:
    return 1.0 if rows.kind is None else rows.kind.unit


@pytest.mark.parametrize(("word", "r"), CASES)
def test_the_sum_is_the_inverse(word: str, r: float) -> None:
    rows, codes, at = rows_of(word)
    C = dense(word, r, codes, at, unit_of(rows))
    c, _ = rows.coefficients(r)
    found = sum(piece.times(c, np.eye(len(C))) for piece in rows.pieces)
    assert_allclose(found, np.linalg.inv(C), atol=1e-12)
    assert_allclose(rows.logdet(r)[0], np.linalg.slogdet(C)[1], atol=1e-12)


@pytest.mark.parametrize(("word", "r"), CASES)
def test_what_multiplies(word: str, r: float) -> None:
    rows, codes, at = rows_of(word)
    C = dense(word, r, codes, at, unit_of(rows))
    n = len(C)
    for H in (np.eye(n), np.random.default_rng(1).standard_normal(n), np.zeros((n, 0))):
        assert_allclose(rows.inverse_times(r, H), np.linalg.solve(C, H), atol=1e-11)
        assert_allclose(rows.times(r, H), C @ H, atol=1e-12)
        assert_allclose(rows.root_solve(r, rows.root_times(r, H)), H, atol=1e-12)
    F = rows.root(r).toarray()
    assert_allclose(F, rows.root_times(r, np.eye(n)), atol=1e-14)
    assert_allclose(F.T @ F, np.linalg.inv(C), atol=1e-11)
    some = np.array([3, 0, 11, 7, 12])
    assert_allclose(rows.covariance(r, some), C[np.ix_(some, some)], atol=1e-14)
    stacked = np.array([[1, 2], [5, 9]])
    assert_allclose(rows.covariance(r, stacked)[1], C[np.ix_([5, 9], [5, 9])], atol=1e-14)


@pytest.mark.parametrize(("word", "r"), CASES)
def test_determinants_of_sets(word: str, r: float) -> None:
    rows, codes, at = rows_of(word)
    C = dense(word, r, codes, at, unit_of(rows))
    sets = codes // 2
    expected = [np.linalg.slogdet(C[np.ix_(sets == s, sets == s)])[1] for s in range(4)]
    assert_allclose(rows.logdets(r, sets, 4), expected, atol=1e-12)


@pytest.mark.parametrize(("word", "r"), [c for c in CASES if c[1] != 0 and c[0] != "none"])
def test_derivatives(word: str, r: float) -> None:
    rows, *_ = rows_of(word)
    h = 1e-6
    ends = [rows.coefficients(r + s) for s in (-h, h)]
    assert_allclose(rows.coefficients(r)[1], (ends[1][0] - ends[0][0]) / (2 * h), rtol=1e-6)
    logs = [rows.logdet(r + s)[0] for s in (-h, h)]
    assert_allclose(rows.logdet(r)[1], (logs[1] - logs[0]) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("word", KINDS)
@settings(deadline=None, max_examples=40)
@given(st.floats(-6.0, 6.0), st.integers(2, 9), st.floats(0.2, 5.0))
def test_z_goes_there_and_back(word: str, z: float, size: int, unit: float) -> None:
    kind = KINDS[word](unit if word == "car1" else 1.0, size)
    low, high = kind.z_range
    z = min(max(z, low), high)
    r, slope = kind.r_of(z)
    assert_allclose(kind.z_of(r), z, atol=1e-7 * max(1.0, np.exp(abs(z)) * 1e-6))
    assert_allclose(kind.r_of_rho(kind.rho_of(r)), r, atol=1e-12)
    bottom, top = kind.rho_range
    assert bottom <= kind.rho_of(r) <= top
    if low + 1e-3 < z < high:
        ends = [kind.r_of(z + s)[0] for s in (-1e-5, 1e-5)]
        assert_allclose(slope, (ends[1] - ends[0]) / 2e-5, rtol=1e-4, atol=1e-9)
        rhos = [kind.rho_of(end) for end in ends]
        assert_allclose(kind.rho_slope(r) * slope, (rhos[1] - rhos[0]) / 2e-5, rtol=1e-3, atol=1e-8)


def test_gaps_that_differ_by_rounding_are_one() -> None:
    at = np.arange(12) * 0.1
    rows = correlated_rows(KINDS["car1"](0.1, 12), 12, np.zeros(12, int), at)
    assert len(rows.coefficients(0.5)[0]) == 3


@pytest.mark.parametrize("kind", [Autoregressive(), ContinuousAutoregressive(0.5), Exchangeable()])
def test_slopes_of_correlations(kind: CorrelationKind) -> None:
    """First and second derivatives in r against differences."""
    h, distance = 1e-5, np.array([1.0, 2.0, 3.0])
    for r in (0.3, 0.7):
        first, second = kind.slopes_between(r, distance)
        ends = kind.between(r + h, distance), kind.between(r - h, distance)
        assert_allclose(first, (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-9)
        slopes = (kind.slopes_between(r + sign * h, distance)[0] for sign in (1, -1))
        ahead, behind = slopes
        assert_allclose(second, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-9)
    assert np.isfinite(kind.slopes_between(0.0, distance)).all()
