"""Cross-products: sums over any partition of the rows are the products of all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.criteria.assemble import assemble, response
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design
from mixedlm_ext.errors import FitError
from mixedlm_ext.products import block_matrix
from mixedlm_ext.products.basis import Basis, column_basis, term_basis
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.noise import EqualVariances, Precisions, noise_of
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.rows import RowSums, learn, shared_groups
from mixedlm_ext.products.transform import orthonormal
from mixedlm_ext.search import optimize
from mixedlm_ext.structures.covariance import Covariance

Array = np.ndarray


# ---------------------------------------------------------------- models and their batches


@dataclass(frozen=True)
class Case:
    """A design and a partition of its rows; the first batch holds `first` rows."""

    design: Design
    batches: list[Array]

    @property
    def groups(self) -> list[list[int]]:
        return shared_groups(self.design.terms)

    def part(self, rows: Array) -> dict[str, Any]:
        d = self.design
        return {
            "y": response(d)[rows],
            "X": d.X[rows],
            "terms": [replace(t, X=t.X[rows], codes=t.codes[rows]) for t in d.terms],
            "noise": noise_of(d).take(rows),
        }

    def learnt(self, rows: Array) -> Layout:
        return learn(**self.part(rows), groups=self.groups)

    def total(self, layout: Layout) -> CrossProducts:
        """The sum over the batches, in a random tree."""
        parts = [RowSums(layout, **self.part(rows)).products() for rows in self.batches]
        while len(parts) > 1:
            parts = [a + b for a, b in zip(parts[::2], parts[1::2])] + parts[len(parts) & ~1 :]
        return parts[0]


def covariance_of(case: Case, layout: Layout) -> Covariance:
    whole = assemble(case.design).covariance
    terms = [
        replace(term, whitening=place.whitening)
        for term, place in zip(whole.terms, layout.places, strict=True)
    ]
    return Covariance(terms, whole.block_sizes)


def problem_of(case: Case, cp: CrossProducts) -> Problem:
    return Problem(cp, covariance_of(case, cp.layout))


SHAPES = {
    "intercept": [("g", "1", "us")],
    "slope": [("g", "1x", "us")],
    "two terms on one factor": [("g", "1", "us"), ("g", "x", "us")],
    "crossed": [("g", "1", "us"), ("h", "1", "us")],
    "crossed slopes": [("h", "1x", "us"), ("g", "1z", "diag")],
    "three factors": [("i", "1", "us"), ("g", "xz", "us"), ("h", "1", "us")],
}


def random_design(shape: str, seed: int, n: int, weights: bool, mean: float, far: bool) -> Design:
    """Random rows; the response lies `mean` from zero, and so does a fixed covariate if `far`."""
    rng = np.random.default_rng(seed)
    columns = {"1": np.ones(n), "x": rng.standard_normal(n), "z": 2.0 + rng.standard_normal(n)}
    year = columns["x"] + rng.standard_normal(n) + (1e8 if far else 0.0)
    codes = {"g": rng.integers(0, 9, n), "h": rng.integers(0, 5, n), "i": rng.integers(0, 3, n)}
    X = np.column_stack([columns["1"], columns["z"], year])
    y = mean + columns["z"] + rng.standard_normal(n)
    for name, own, _ in SHAPES[shape]:
        for c in own:
            y = y + rng.standard_normal(9)[codes[name]] * columns[c]
    terms = [
        RandomTerm(codes[name], np.column_stack([columns[c] for c in own]), name, structure=kind)
        for name, own, kind in SHAPES[shape]
    ]
    w = rng.uniform(0.2, 5.0, n) if weights else None
    return MixedLM(y, X, terms, weights=w).design


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A model and batches: a first one of 25 rows or more, then any, single rows and none."""
    n = draw(st.integers(60, 150))
    design = random_design(
        draw(st.sampled_from(list(SHAPES))),
        draw(st.integers(0, 10_000)),
        n,
        draw(st.booleans()),
        draw(st.sampled_from([0.0, 1e8, -1e8])),
        draw(st.booleans()),
    )
    order = np.random.default_rng(draw(st.integers(0, 1000))).permutation(len(design.y))
    first = draw(st.integers(25, 40))
    if draw(st.booleans()):
        cuts = list(range(first, len(order)))  # one row a batch
    else:
        cuts = sorted(draw(st.lists(st.integers(first, len(order)), max_size=6)))  # some are empty
    return Case(design, np.split(order, [first, *cuts]))


@settings(deadline=None, max_examples=60)
@given(cases(), st.booleans(), st.integers(0, 100))
def test_batches_sum_to_the_criterion_of_the_whole(case: Case, frozen: bool, seed: int) -> None:
    """In the layout learnt from the first batch, or from everything."""
    whole = assemble(case.design)
    every = np.arange(len(case.design.y))
    layout = case.learnt(case.batches[0] if frozen else every)
    problem = problem_of(case, case.total(layout))
    assert problem.cp.n == whole.cp.n
    theta = np.random.default_rng(seed).standard_normal(whole.covariance.n_theta)
    for reml in (True, False):
        ours, expected = (
            GaussianCriterion(p, reml).at(p.covariance.standardize(theta)) for p in (problem, whole)
        )
        scale = max(abs(expected.value), float(whole.cp.n))
        assert_allclose(ours.value, expected.value, rtol=0, atol=1e-11 * scale)
        beta = problem.cp.layout.coefficients(ours.pls.beta)
        root = expected.pls.RX @ whole.cp.R
        away = root @ (beta - whole.cp.layout.coefficients(expected.pls.beta))
        assert np.linalg.norm(away) < 1e-7 * np.sqrt(expected.pls.pwrss)


@settings(deadline=None, max_examples=15)
@given(cases())
def test_frozen_products_have_the_same_optimum(case: Case) -> None:
    whole = assemble(case.design)
    problem = problem_of(case, orthonormal(case.total(case.learnt(case.batches[0]))))
    (ours, _), (expected, _) = (optimize(GaussianCriterion(p, True)) for p in (problem, whole))
    assert_allclose(ours.value, expected.value, rtol=0, atol=1e-7)


def coefficients(problem: Problem, theta: Array) -> Array:
    e = GaussianCriterion(problem, True).at(problem.covariance.standardize(theta))
    return problem.cp.layout.coefficients(e.pls.beta)


def test_an_orthonormal_basis_changes_no_coefficient() -> None:
    case = a_case("slope")
    cp = case.total(case.learnt(case.batches[0]))
    turned = orthonormal(cp)
    assert_allclose(turned.XX, np.eye(cp.p), rtol=0)
    assert not turned.Xy.any() and np.abs(cp.Xy).max() > 0.1
    theta = np.array([0.8, 0.3, 0.5])
    found = [coefficients(problem_of(case, products), theta) for products in (cp, turned)]
    assert_allclose(found[1], found[0], rtol=1e-10)
    expected = coefficients(assemble(case.design), theta)
    assert_allclose(found[1], expected, rtol=1e-10)


def assert_same(one: CrossProducts, two: CrossProducts, tolerance: float = 1e-11) -> None:
    """All sums agree, relative to their size."""
    assert one.n == two.n
    pairs = [(one.ZZ.toarray(), two.ZZ.toarray())]
    pairs += [(getattr(one, name), getattr(two, name)) for name in ("ZX", "Zy", "XX", "Xy", "yy")]
    for a, b in pairs:
        assert_allclose(a, b, rtol=0, atol=tolerance * max(float(np.abs(b).max(initial=0.0)), 1.0))
    assert_allclose(one.logdet_W, two.logdet_W, atol=1e-10)


def a_case(shape: str = "crossed slopes", weights: bool = True) -> Case:
    design = random_design(shape, 3, 90, weights, 5.0, far=False)
    return Case(design, np.split(np.arange(90), [50]))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_subtracted_was_never_there(shape: str) -> None:
    case = a_case(shape)
    layout = case.learnt(np.arange(90))
    one, two = (RowSums(layout, **case.part(rows)).products() for rows in case.batches)
    left = (one + two) - two
    assert_same(left, one)
    for key, c in left.couplings.items():  # pairs that only the others had stay, without anything
        assert len(c.rows) == len((one + two).couplings[key].rows)


def test_sums_do_not_change_what_they_are_made_of() -> None:
    case = a_case()
    layout = case.learnt(np.arange(90))
    one, two = (RowSums(layout, **case.part(rows)).products() for rows in case.batches)
    before = one.ZZ.toarray().copy(), one.Zy.copy()
    _ = one + two, one - two, 2.0 * one
    assert_allclose(one.ZZ.toarray(), before[0], rtol=0)
    assert_allclose(one.Zy, before[1], rtol=0)


def test_rows_of_products_are_taken_in_any_order() -> None:
    case = a_case()
    layout = case.learnt(np.arange(90))
    every = RowSums(layout, **case.part(np.arange(90)))
    rows = np.array([70, 3, 41])
    assert_same(every.products(rows), RowSums(layout, **case.part(np.sort(rows))).products())
    assert_same(every.products(), every.products(np.arange(90)[::-1]))
    nothing = every.products(rows[:0])
    assert nothing.n == 0 and nothing.yy == 0.0 and not nothing.XX.any()
    assert_same(every.products(rows) + nothing, every.products(rows))
    assert_same(nothing + every.products(rows), every.products(rows))


@pytest.mark.parametrize("weights", [True, False])
def test_multiples_are_those_of_the_weights(weights: bool) -> None:
    case = a_case(weights=weights)
    layout = case.learnt(np.arange(90))
    part = case.part(np.arange(90))
    heavier_noise = Precisions(3.0 / noise_of(case.design).variances)
    heavier = RowSums(layout, **{**part, "noise": heavier_noise}).products()
    assert_same(3.0 * RowSums(layout, **part).products(), heavier)
    assert_same(RowSums(layout, **part).products() * 3.0, heavier)


def test_what_cannot_be_added_says_so() -> None:
    case = a_case()
    one, two = (
        RowSums(case.learnt(rows), **case.part(rows)).products() for rows in (range(90), range(80))
    )
    with pytest.raises(FitError, match="in one layout only"):
        one + two
    with pytest.raises(FitError, match="in one layout only"):
        one - two
    with pytest.raises(FitError, match=r"positive numbers, not by -1\.0"):
        -1.0 * one
    with pytest.raises(TypeError):
        one + 1  # type: ignore[operator]


def test_couplings_keep_their_pairs_sorted() -> None:
    def coupling(pairs: list[tuple[int, int]], values: list[float]) -> Coupling:
        rows, columns = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        return Coupling(rows, columns, np.array(values).reshape(1, 1, -1))

    one = coupling([(0, 1), (1, 0), (2, 2)], [1.0, 2.0, 3.0])
    two = coupling([(0, 0), (1, 0)], [10.0, 20.0])
    out = one.plus(two, -1.0, 3)
    assert list(zip(out.rows.tolist(), out.columns.tolist())) == [(0, 0), (0, 1), (1, 0), (2, 2)]
    assert out.values.ravel().tolist() == [-10.0, 1.0, -18.0, 3.0]
    inside = one.plus(coupling([(1, 0)], [5.0]), 1.0, 3)
    assert inside.rows is one.rows and inside.values.ravel().tolist() == [1.0, 7.0, 3.0]
    empty = coupling([], [])
    assert empty.plus(two, 2.0, 3).values.ravel().tolist() == [20.0, 40.0]
    assert two.plus(empty, 1.0, 3).rows is two.rows


# ---------------------------------------------------------------- bases


def test_products_of_many_pairs_are_those_of_the_dense_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    shapes = ((2, 50), (3, 40), (1, 30))
    half = [rng.standard_normal((k, k, n)) for k, n in shapes]
    couplings = {}
    for i, j in [(0, 1), (0, 2), (1, 1), (1, 2)]:
        keys = np.unique(rng.integers(0, shapes[i][1] * shapes[j][1], 200))
        rows, columns = np.divmod(keys, shapes[j][1])
        kept = rows > columns if i == j else rows >= 0
        rows, columns = rows[kept], columns[kept]
        values = rng.standard_normal((shapes[i][0], shapes[j][0], len(rows)))
        couplings[i, j] = Coupling(rows, columns, values)
    A = BlockMatrix(shapes, [D + D.transpose(1, 0, 2) for D in half], couplings)
    monkeypatch.setattr(block_matrix, "_MANY", 0)
    for M in (
        rng.standard_normal((250, 4)),
        rng.standard_normal(250),
        np.ones((250, 2)).T.copy().T,
    ):
        assert_allclose(A.times(M), A.dense @ M, atol=1e-12)


def test_coordinates_of_a_far_column_keep_their_digits() -> None:
    """A column 1e8 from zero: Q is that of the centred column, to all digits of the differences."""
    rng = np.random.default_rng(0)
    steps = rng.integers(-50, 50, 40) / 64.0  # exact beside 1e8
    for X in (
        np.column_stack([np.ones(40), 1e8 + steps]),
        np.column_stack([1e8 + steps, np.ones(40)]),
        np.column_stack([steps < 0, 1e8 + steps, steps >= 0]).astype(float),
    ):
        Q, basis, kept = column_basis(X, EqualVariances(len(X)))
        assert kept.tolist() == list(range(X.shape[1]))
        assert_allclose(Q.T @ Q, np.eye(X.shape[1]), atol=1e-13)
        assert_allclose(np.tril(basis.R, -1), 0.0, atol=0)
        assert_allclose(basis.coordinates(X), Q, atol=1e-13)
        assert_allclose(basis.coordinates(X[7:9]), Q[7:9], atol=1e-13)
        assert_allclose(Q @ basis.R, X, rtol=1e-14, atol=1e-14)
        near = np.where(X > 1e7, X - 1e8, X)
        assert_allclose(Q @ (Q.T @ near), near, atol=1e-12)


def test_coordinates_of_rows_off_the_constant() -> None:
    """Rows learnt from may have a constant that others have not."""
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(30), 1e6 + rng.standard_normal(30)])
    _, basis, _ = column_basis(X, EqualVariances(len(X)))
    assert basis.centring is not None
    others = rng.standard_normal((4, 2))
    assert_allclose(basis.coordinates(others) @ basis.R, others, atol=1e-6)


def test_residuals_of_rows_off_the_constant() -> None:
    """y - Xβ₀, whatever was taken along the constant of the rows learnt from."""
    case = a_case("intercept")
    layout = case.learnt(np.arange(90))
    assert layout.shift != 0.0 and layout.constant is not None
    X = np.random.default_rng(5).standard_normal((4, 3))
    residual = layout.residual(np.arange(4.0), X, layout.basis.coordinates(X))
    assert_allclose(residual, np.arange(4.0) - X @ layout.beta0, atol=1e-12)


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_few_rows_leave_columns_of_unit_length(rows: int) -> None:
    """Dependent columns in the rows learnt from: the basis is one for other rows all the same."""
    rng = np.random.default_rng(2)
    X = np.column_stack([np.ones(rows), np.zeros(rows), rng.standard_normal(rows), np.ones(rows)])
    _, basis, kept = column_basis(X, Precisions(np.full(rows, 4.0)), dependent=True)
    assert len(kept) < 4
    others = rng.standard_normal((6, 4))
    assert_allclose(basis.coordinates(others) @ basis.R, others, atol=1e-12)
    for structure in ("us", "diag", "iid"):
        own, whitened = term_basis(X, EqualVariances(len(X)), structure, dependent=True)
        assert own.shape == X.shape
        assert_allclose(whitened.coordinates(others) @ whitened.R, others, atol=1e-12)
        assert (np.diag(whitened.R) > 0).all()
        assert_allclose(np.triu(whitened.R, 1), 0.0, atol=0)


def test_a_basis_times_a_triangle() -> None:
    X = np.random.default_rng(3).standard_normal((9, 3)) + 1e5 * np.array([0.0, 1.0, 0.0])
    X[:, 0] = 1.0
    _, basis, _ = column_basis(X, EqualVariances(len(X)))
    U = np.triu(np.random.default_rng(4).standard_normal((3, 3))) + 3.0 * np.eye(3)
    turned = basis.times(U)
    assert_allclose(turned.R, U @ basis.R)
    assert_allclose(turned.coordinates(X) @ U, basis.coordinates(X), atol=1e-10)
    assert_allclose(Basis(U).coordinates(X) @ U, X, rtol=1e-12)


@pytest.mark.parametrize("first", [1, 2, 4])
def test_a_first_batch_that_says_little_still_gives_the_criterion(first: int) -> None:
    """One row or a few to learn from: no column is determined, some digits are lost."""
    case = a_case("slope")
    whole = assemble(case.design)
    problem = problem_of(case, case.total(case.learnt(np.arange(first))))
    theta = np.array([0.8, 0.3, 0.5])
    ours, expected = (
        GaussianCriterion(p, True).at(p.covariance.standardize(theta)) for p in (problem, whole)
    )
    assert_allclose(ours.value, expected.value, rtol=1e-9)
