"""Blocks whose levels have few columns each: what the solver level by level gives, and its support.

The other solvers, which take all columns at every level, are the oracle.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dense_solver import DenseSolver
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.levelwise import LevelwiseCriterion, by_levels
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.products.supports import Diagonal, LevelSquares, cells_of_rows
from mixedlm_ext.search.pair_moments import pair_moments
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.levelwise import LevelwiseSolver

Array = np.ndarray


def times(levels: int = 12, seed: int = 0) -> pd.DataFrame:
    """Irregular times: a few rows a level, hardly a time of two levels, some times twice."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 6, levels)
    g = np.repeat(np.arange(levels), size)
    t = rng.choice(np.arange(0.0, 10.0, 0.25), len(g))
    x = rng.standard_normal(len(g))
    y = 1 + x + np.sin(t + g) + 0.5 * rng.standard_normal(len(g))
    return pd.DataFrame({"g": [f"g{level}" for level in g], "t": t, "x": x, "y": y})


def numbers(seed: int, k: int = 20, levels: int = 6, ones: bool = False) -> BlockMatrix:
    """Z'WZ of rows with one of many columns each, beside an intercept or without."""
    rng = np.random.default_rng(seed)
    n = 25
    codes, place = rng.integers(0, levels, n), rng.integers(0, k, n)
    columns: list[Array | None] = list((np.arange(k)[:, None] == place) * rng.uniform(0.5, 2, n))
    if ones:
        columns = [None, *columns]
    cells = cells_of_rows(codes, columns, levels)
    assert cells is not None
    return BlockMatrix(((len(columns), levels),), Diagonal([cells.squares]), {})


def whole(A: BlockMatrix) -> BlockMatrix:
    """The same matrix with all columns at every level."""
    return BlockMatrix(A.shapes, [*A.diagonal], A.couplings)


# ----------------------------------------------------------------------------------- the support


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.booleans())
def test_squares_are_those_of_dense_columns(seed: int, ones: bool) -> None:
    rng = np.random.default_rng(seed)
    n, k, levels = 20, 18, 7
    codes = rng.integers(0, levels, n)
    X = rng.standard_normal((n, k)) * (rng.random((n, k)) < 0.06)
    columns: list[Array | None] = list(X.T)
    if ones:
        X, columns = np.column_stack([X, np.ones(n)]), [*columns, None]
    cells = cells_of_rows(codes, columns, levels)
    if cells is None:
        return
    squares, y = cells.squares, rng.standard_normal(n)
    by_level = [np.bincount(codes, own * y, levels) for own in X.T]
    assert_allclose(cells.sums([X[:, 0], y])[:, 1], np.concatenate(by_level), atol=1e-12)
    expected = np.zeros((X.shape[1], X.shape[1], levels))
    for level in range(levels):
        own = X[codes == level]
        expected[:, :, level] = own.T @ own
    assert_allclose(squares.whole, expected, atol=1e-12)
    assert_allclose(squares.total, expected.sum(axis=2), atol=1e-12)
    assert_allclose(squares.largest, np.einsum("aal->al", expected).max(axis=1), atol=1e-12)


def test_a_few_columns_or_full_levels_are_left_alone() -> None:
    codes = np.arange(40) // 20
    one_each = list((np.arange(20)[:, None] == np.arange(40) % 20).astype(float))
    assert cells_of_rows(codes, one_each, 2) is None  # all columns at each level
    assert cells_of_rows(np.arange(40), one_each[:5], 40) is None


def test_numbers_keep_their_support() -> None:
    A = numbers(1)
    twice = A.scaled(2.0)
    assert isinstance(twice.squares(0), LevelSquares)
    assert_allclose(twice.diagonal[0], 2.0 * A.diagonal[0])
    k = A.shapes[0][0]
    more = A.congruent({0: np.eye(k, k + 2)})
    assert isinstance(more.squares(0), LevelSquares)
    assert_allclose(more.diagonal[0][:k, :k], A.diagonal[0])
    assert not more.diagonal[0][k:].any()
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((k, k)))[0]
    mixed = A.congruent({0: turned})
    assert mixed.squares(0) is None
    assert_allclose(mixed.diagonal[0][:, :, 2], turned.T @ A.diagonal[0][:, :, 2] @ turned)
    order = np.eye(k)[:, ::-1]
    turned_round = A.congruent({0: order})
    assert isinstance(turned_round.squares(0), LevelSquares)
    assert_allclose(turned_round.diagonal[0], A.diagonal[0][::-1, ::-1])
    doubled = A.congruent({0: 2.0 * np.eye(k)})
    assert_allclose(doubled.diagonal[0], 4.0 * A.diagonal[0])
    for B in (A, whole(A)):
        assert_allclose(B.squared_lengths(0), np.einsum("aal->a", A.diagonal[0]))
        assert_allclose(B.sizes(0), np.einsum("aal->l", A.diagonal[0]))
        assert_allclose(B.average[0], A.diagonal[0].mean(axis=2))
        assert_allclose(B.largest[0], np.einsum("aal->al", A.diagonal[0]).max(axis=1))
    assert_allclose(A.plus(A, 1.0).diagonal[0], 2.0 * A.diagonal[0])


# ------------------------------------------------------------------------------------ the solver


@pytest.mark.parametrize("ones", [False, True])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 300.0])
def test_against_dense_algebra(ones: bool, scale: float) -> None:
    A = numbers(3, ones=ones)
    (k, _), rng = A.shapes[0], np.random.default_rng(4)
    T = scale * np.tril(rng.standard_normal((k, k))) / np.sqrt(k)
    T[:, k // 2] = 0.0  # singular
    found, dense = LevelwiseSolver(A).factor([T]), DenseSolver(whole(A)).factor([T])
    digits = 1e-8 if scale > 1 else 1e-11
    close: dict[str, Any] = {"rtol": digits, "atol": digits * (1.0 + scale**2)}
    assert_allclose(found.logdet, dense.logdet, rtol=1e-11, atol=1e-12)
    anything, told = rng.standard_normal((A.offsets[-1], 3)), A.times(np.eye(A.offsets[-1])[:, ::7])
    for H in (anything, told, np.zeros_like(told)):
        assert_allclose(found.apply(H), dense.apply(H), **close)
        assert_allclose(found.quadratic(H), dense.quadratic(H), **close)
        both = found.solve(H)
        assert_allclose(both[0], dense.quadratic(H), **close)
        assert_allclose(both[1], dense.apply(H), **close)
        assert_allclose(found.quadratic_diagonal(H), dense.quadratic_diagonal(H), **close)
        assert_allclose(found.weighed(H), H - A.times(dense.apply(H)), **close)
    (K,), (KT,) = found.traces()
    (L,), (LT,) = dense.traces()
    assert_allclose(K, L, **close)
    assert_allclose(KT, LT, **close)
    assert_allclose(found.level_information().whole, dense.information_blocks()[0], **close)
    assert_allclose(found.diagonal_blocks()[0], dense.diagonal_blocks()[0], **close)
    assert_allclose(found.inverse().diagonal[0], dense.diagonal_blocks()[0], **close)


def test_effects_of_all_sizes_keep_their_digits() -> None:
    """H'NH from 1e-12 to where nothing but the noise is left."""
    A = numbers(5)
    H = A.times(np.random.default_rng(6).standard_normal((int(A.offsets[-1]), 1)))
    k = A.shapes[0][0]
    small = LevelwiseSolver(A).factor([1e-6 * np.eye(k)])
    assert_allclose(small.quadratic(H), 1e-12 * H.T @ H, rtol=1e-10)
    expected = H.T @ np.linalg.pinv(A.dense, hermitian=True) @ H
    alike = np.linalg.cholesky(0.99 + 0.01 * np.eye(k))
    for T in (1e6 * np.eye(k), 1e6 * alike):
        large = LevelwiseSolver(A).factor([T])
        assert_allclose(large.quadratic(H), expected, rtol=1e-9)


def test_other_numbers() -> None:
    A = numbers(7)
    solver = LevelwiseSolver(A)
    assert solver.load(A) is solver
    assert isinstance(solver.load(A.scaled(2.0)), LevelwiseSolver)
    assert isinstance(solver.load(whole(A)), DirectSolver)


# ------------------------------------------------------------------------------- the whole model

FORMULAS = [
    "y ~ x + exp(0 + position(t) | g)",
    "y ~ x + (1 | g) + exp(0 + position(t) | g)",
    "y ~ x + ar1(0 + C(t, levels=TIMES) | g)",
]
TIMES = np.arange(0.0, 10.0, 0.25)


def problems(formula: str) -> tuple[Problem, Problem]:
    """The problem of a model, and the same with the solver that takes all columns."""
    problem = MixedLM.from_formula(formula, times()).problem
    assert isinstance(problem.solver, LevelwiseSolver)
    other = Problem(replace(problem.cp, A=whole(problem.cp.A)), problem.covariance)
    assert isinstance(other.solver, DirectSolver)
    return problem, other


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", FORMULAS)
def test_the_criterion_and_its_derivatives(formula: str, reml: bool) -> None:
    problem, other = problems(formula)
    low, high = problem.covariance.domain
    rng = np.random.default_rng(2)
    for share in (0.3, 0.9, 1.0):
        theta = rng.uniform(0.2, 2.0, len(low))
        bounded = np.isfinite(high)
        theta[bounded] = low[bounded] + share * (high - low)[bounded]
        one, two = (GaussianCriterion(p, reml).at(theta) for p in (problem, other))
        assert_allclose(one.value, two.value, rtol=1e-10)
        for name in ("gradient", "hessian", "hessian_model", "v", "U", "pwrss_gradient"):
            expected = getattr(two, name)
            close = {"rtol": 1e-6, "atol": 1e-8 * (1.0 + np.abs(expected).max(initial=0.0))}
            assert_allclose(getattr(one, name), expected, err_msg=name, **close)
        assert_allclose(one.pls.b, two.pls.b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("sigma", [None, 0.8])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(
    "term",
    [
        "exp(0 + position(t) | g)",
        "ar1(0 + C(t, levels=TIMES) | g)",
        "cs(0 + C(t, levels=TIMES) | g, hom=True)",
        "toep(0 + C(t, levels=TIMES) | g, hom=True)",
    ],
)
def test_the_criterion_by_pairs_of_columns(term: str, reml: bool, sigma: float | None) -> None:
    """It is the plain one, at points inside the range and at its ends, and its end is the same."""
    data = times(80).assign(t=lambda d: (2.0 * d["t"]) // 1, w=lambda d: 1.0 + d["x"] ** 2)
    TIMES = np.arange(20.0)  # noqa: F841 - in the formula
    problem = MixedLM.from_formula(f"y ~ x + {term}", data, weights="w").problem
    plain = GaussianCriterion(problem, reml, sigma)
    pairs = by_levels(plain)
    assert isinstance(pairs, LevelwiseCriterion)
    low, high = problem.covariance.domain
    rng = np.random.default_rng(3)
    bounded = np.isfinite(high)
    for share in (0.0, 0.4, 0.9, 1.0):
        theta = rng.uniform(0.2, 2.0, len(low))
        theta[bounded] = low[bounded] + share * (high - low)[bounded]
        one, two = pairs.at(theta), plain.at(theta)
        assert_allclose((one.value, one.scale), (two.value, two.scale), rtol=1e-10)
        for name in ("gradient", "v"):
            assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-7, atol=1e-8)
        for exact in (False, True):
            for mine, other in zip(one.derivatives(exact), two.derivatives(exact)):
                assert_allclose(mine, other, rtol=1e-6, atol=1e-7 * np.abs(other).max())
        assert_allclose(one.room, two.room)
        step = np.full(len(one.derivatives()[0]), 0.01)
        assert_allclose(one.after(step), two.after(step))
        assert one.noise <= one.most_noise <= 1e4 * one.noise
        assert_allclose(one.plain.value, one.value, rtol=1e-10)


def test_pairs_are_for_one_term_of_one_variance() -> None:
    for formula in (*FORMULAS[1:2], "y ~ x + (1 | g)", "y ~ x + ar1(0 + C(t) | g, hom=False)"):
        problem = MixedLM.from_formula(formula, times()).problem
        plain = GaussianCriterion(problem, True)
        assert by_levels(plain) is plain


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", FORMULAS[:2])
def test_second_derivatives_are_differences_of_the_gradient(formula: str, reml: bool) -> None:
    problem, _ = problems(formula)
    criterion = GaussianCriterion(problem, reml)
    theta = np.array([0.6, 0.8, 0.4])[-len(problem.covariance.start()) :]
    steps = 1e-5 * np.eye(len(theta))
    by_hand = [
        (criterion.at(theta + h).gradient - criterion.at(theta - h).gradient) / 2e-5 for h in steps
    ]
    assert_allclose(criterion.at(theta).hessian, by_hand, rtol=1e-5, atol=1e-4)


def test_pairs_start_near_what_made_the_data() -> None:
    rng = np.random.default_rng(0)
    t = rng.uniform(0.0, 10.0, (300, 4)).round(1)
    distance = np.abs(t[:, :, None] - t[:, None])
    roots = np.linalg.cholesky(9.0 * np.exp(-distance / 3.0) + 1e-9 * np.eye(4))
    y = np.einsum("gab,gb->ga", roots, rng.standard_normal((300, 4)))
    y += 2.0 * rng.standard_normal(y.shape)
    g = np.repeat(np.arange(300), 4)
    data = pd.DataFrame({"g": g, "t": t.ravel(), "y": y.ravel()})
    problem = MixedLM.from_formula("y ~ 1 + exp(0 + position(t) | g)", data).problem
    squares = problem.cp.A.squares(0)
    assert squares is not None
    sd, share = problem.covariance.unstandardize(pair_moments(problem, squares))
    unit = problem.covariance.terms[0].structure.range_unit
    assert unit is not None
    assert_allclose(sd, 1.5, rtol=0.25)
    assert_allclose(share, 3.0 / (3.0 + unit), atol=0.15)


@pytest.mark.parametrize("formula", FORMULAS)
def test_everything_after_the_fit(formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = MixedLM.from_formula(formula, data).fit()
            out = {
                "criterion": result.objective,
                "effects": result.random_effects["g"],
                "their deviations": result.random_effects_sd["g"],
                "degrees of freedom": result.df_resid_inference,
                "rows": result.fittedvalues,
                "their errors": result.get_prediction().se_mean,
                "leverages": result.leverage(),
                "drawn": result.simulate(2, rng=3),
                "drawn and fitted": result.bootstrap(3, rng=1).cov(),
            }
            if "exp(" in formula:  # kriging
                new = pd.DataFrame({"g": ["g1", "g1", "new"], "t": [3.1, 4.2, 3.1], "x": 0.0})
                out["elsewhere"] = result.predict(new, new_levels="population")
        return out

    data = times(40, seed=5)
    here = told()
    monkeypatch.setattr(LevelwiseSolver, "if_it_suits", lambda A: None)
    there = told()
    for name, expected in there.items():
        assert_allclose(
            np.asarray(here[name]), np.asarray(expected), rtol=1e-4, atol=1e-6, err_msg=name
        )
