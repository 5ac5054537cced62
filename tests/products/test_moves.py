"""Sums of batches, and the same sums in other layouts: against the rows in those layouts."""

from collections.abc import Sequence
from typing import Any

import batched
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixedlm_ext import MixedLM
from mixedlm_ext.criteria.assemble import assemble
from mixedlm_ext.design import Design
from mixedlm_ext.products.batches import RunningSum
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.moves import kept_columns, moved, settled, with_levels
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.rows import RowSums, learn

FORMULA = "y ~ x + f + z + (x | g) + (0 + z | g) + (1 | k)"
Groups = list[list[int]]


@pytest.fixture(scope="module", params=[None, "w"])
def design(request: Any) -> Design:
    return MixedLM.from_formula(FORMULA, batched.frame(), weights=request.param).design


def layout_of(design: Design, rows: slice, groups: Sequence[Sequence[int]]) -> Layout:
    """Learn a layout from some rows."""
    part = design.take(np.arange(240)[rows])
    return learn(part.y, part.X, part.terms, groups, noise_of(part))


def products_in(layout: Layout, design: Design) -> CrossProducts:
    return RowSums(layout, design.y, design.X, design.terms, noise_of(design)).products()


def assert_equal(one: CrossProducts, two: CrossProducts) -> None:
    """Two sums agree in every number."""
    size = np.sqrt(two.yy)
    for name in ("ZX", "Zy", "XX", "Xy", "yy", "logdet_W"):
        assert_allclose(getattr(one, name), getattr(two, name), atol=1e-9 * size, err_msg=name)
    for D, E in zip(one.diagonal, two.diagonal, strict=True):
        assert_allclose(D, E, atol=1e-9)
    assert one.couplings.keys() == two.couplings.keys()
    for key, c in two.couplings.items():
        own = one.couplings[key]
        assert_array_equal(own.rows, c.rows)
        assert_array_equal(own.columns, c.columns)
        assert_allclose(own.values, c.values, atol=1e-9)


@pytest.mark.parametrize("cuts", [[7, 7, 100], range(1, 240), [120]], ids=["few", "rows", "two"])
@pytest.mark.parametrize("order", ["as they are", "by level"])
def test_a_running_sum(design: Design, cuts: Sequence[int], order: str) -> None:
    if order == "by level":
        design = design.take(np.argsort(design.terms[0].codes, kind="stable"))
    layout = layout_of(design, slice(0, 60), [[0, 1], [2]])
    total = RunningSum(layout, counted=True)
    for part in np.split(np.arange(240), cuts):
        if len(part):
            rows = design.take(part)
            total.add(rows.y, rows.X, rows.terms, noise_of(rows))
    found = total.products()
    assert_equal(found, products_in(layout, design))
    counts = total.counts()
    assert counts is not None
    assert_array_equal(counts.levels[0], np.bincount(design.terms[0].codes))
    pairs = np.zeros((12, 9), int)
    np.add.at(pairs, (design.terms[0].codes, design.terms[2].codes), 1)
    c = found.couplings[0, 1]
    assert_array_equal(counts.pairs[0, 1], pairs[c.rows, c.columns])


@pytest.mark.parametrize("groups", [[[0, 1], [2]], [[2], [1, 0]], [[1, 0], [2]]], ids=str)
def test_another_layout(design: Design, groups: Groups) -> None:
    """Basis, β₀, whitening, order of blocks and of terms within them, places of levels."""
    one = layout_of(design, slice(0, 50), [[0, 1], [2]])
    two = layout_of(design, slice(100, 240), groups)
    rng = np.random.default_rng(0)
    places = [rng.permutation(15)[:12], rng.permutation(9)]
    shapes = tuple((k, 15 if q == 12 else q) for k, q in two.shapes)
    wide = Layout(shapes, two.places, two.basis, two.beta0, two.constant, two.shift)
    order = [0 if 0 in own else 1 for own in groups]
    found = moved(products_in(one, design), wide, places, order)
    terms = [
        type(t)(**{**vars(t.spec), "levels": t.levels}, X=t.X, codes=places[int(i == 2)][t.codes])
        for i, t in enumerate(design.terms)
    ]
    rows = RowSums(wide, design.y, design.X, terms, noise_of(design))
    assert_equal(found, rows.products())


@pytest.mark.parametrize("columns", [[0, 1, 2, 3, 4], [0, 2, 3, 4], [1, 4], []], ids=str)
def test_some_columns(design: Design, columns: list[int]) -> None:
    """What is kept settles to the products that the rows of these columns find."""
    layout = layout_of(design, slice(0, 60), [[0, 1], [2]])
    kept = np.array(columns, dtype=np.intp)
    how = [term.kind.whitening for term in design.terms]
    found = settled(kept_columns(products_in(layout, design), kept), how)
    expected = moved_to_rows(design, kept)
    assert_allclose(found.yy, expected.yy, rtol=1e-10)
    assert_allclose(found.Zy, expected.Zy, atol=1e-8)
    assert_allclose(found.layout.beta0, expected.layout.beta0, rtol=1e-8)
    assert_allclose(found.ZX @ found.ZX.T, expected.ZX @ expected.ZX.T, atol=1e-9)
    for place, other in zip(found.layout.places, expected.layout.places, strict=True):
        assert_allclose(place.whitening, other.whitening, rtol=1e-10)


def moved_to_rows(design: Design, kept: np.ndarray[Any, Any]) -> CrossProducts:
    """Return the products of the rows with some columns of X."""
    from dataclasses import replace

    rows = replace(design.rows, X=design.X[:, kept])
    spec = replace(design.spec, x_names=tuple(design.x_names[j] for j in kept))
    return assemble(Design(spec, rows)).cp


def test_some_levels(design: Design) -> None:
    layout = layout_of(design, slice(0, 60), [[0, 1], [2]])
    few = design.take(design.terms[0].codes < 5)
    kept = [np.arange(5), np.arange(9)]
    found = with_levels(products_in(layout, few), kept)
    assert found.shapes == ((3, 5), (1, 9))
    whole = products_in(layout, few)
    assert_allclose(found.block(found.Zy, 0), whole.block(whole.Zy, 0)[:, :5])
    assert_allclose(found.diagonal[0], whole.diagonal[0][:, :, :5])
    assert_array_equal(found.couplings[0, 1].rows, whole.couplings[0, 1].rows)
