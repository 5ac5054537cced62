"""From a design to the engine's problem: terms merged into blocks, columns whitened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design
from mixedlm_ext.errors import DesignError
from mixedlm_ext.products.layout import BlockData, Layout
from mixedlm_ext.products.noise import EqualVariances, noise_of_weights
from mixedlm_ext.products.residual_short import ShortSums
from mixedlm_ext.products.residual_sums import ResidualSums
from mixedlm_ext.products.responses import columns_in_layout
from mixedlm_ext.products.rows import cross_products, lay_out, shared_groups
from mixedlm_ext.solvers.choice import solver_of
from mixedlm_ext.structures.covariance import Covariance, TermCovariance

Array = NDArray[np.float64]

__all__ = ["assemble", "lay_out_terms", "response", "sums_of", "with_structure"]


def assemble(design: Design) -> Problem:
    """Touch the rows of a design once and return everything the fit needs.

    Parameters
    ----------
    design : Design

    Returns
    -------
    Problem

    Raises
    ------
    DesignError
        If the response is of an extreme scale.
    """
    _check_scale(design)
    elsewhere = design.rows.elsewhere
    if elsewhere is not None and elsewhere.residual is None:
        return Problem(elsewhere.products, _covariance(design, elsewhere.products.layout))
    if elsewhere is not None:
        return _with_residuals(design, elsewhere.residual)
    noise = noise_of_weights(design)
    places, blocks = lay_out(design.terms, shared_groups(design.terms), noise)
    cp = cross_products(response(design), design.X, blocks, noise, places)
    if design.residual is None:
        return Problem(cp, _covariance(design, cp.layout))
    return with_structure(design, cp.layout)


def with_structure(design: Design, layout: Layout) -> Problem:
    """Return the problem of a design with a residual structure and with rows, in a layout."""
    return _with_residuals(design, sums_of(design, layout))


def _with_residuals(design: Design, sums: ShortSums) -> Problem:
    """Return the problem of residuals with a structure, on the pattern that all of them have."""
    neutral = sums.at(sums.structure.neutral).cp
    solver = solver_of(neutral.A, sums.layout.priors, "exact")
    return Problem(neutral, _covariance(design, sums.layout), solver, sums)


def sums_of(design: Design, layout: Layout) -> ResidualSums:
    """Sum over the rows of a design with a residual structure, in a layout."""
    assert design.residual is not None and design.residual_rows is not None
    root_w = noise_of_weights(design).root_times(np.ones(len(design.y)))
    H = columns_in_layout(design.terms, design.X, response(design), layout, root_w)
    starts = np.cumsum([0, *(levels for _, levels in layout.level_shapes)], dtype=np.intp)
    blocks: list[Any] = [None] * len(layout.shapes)
    codes = [term.codes for term in design.terms]
    for place, own in zip(layout.places, codes):
        blocks[place.block] = starts[place.block] + own
    n, columns = len(design.y), np.concatenate([np.zeros(0, np.intp), *blocks])
    cells = (np.ones(len(columns)), (np.tile(np.arange(n), len(blocks)), columns))
    return ResidualSums(
        layout,
        H,
        sparse.csr_array(cells, shape=(n, int(starts[-1]))),
        design.residual.with_values(None),
        design.residual_rows,
        root_w,
    )


def lay_out_terms(design: Design, unit: float = 1.0) -> tuple[Problem, list[BlockData]]:
    """Return the problem of a design with equal weights, and its rows in blocks.

    What is weighed anew in each step of a fit needs the layout, the pattern and the rows. Columns
    are multiplied by `unit`, so that θ is in such units of the linear predictor.
    """
    n = len(design.y)
    noise = EqualVariances(n)
    places, blocks = lay_out(design.terms, shared_groups(design.terms), noise)
    if unit != 1.0:
        places = [replace(place, basis=place.basis.in_units(unit)) for place in places]
        blocks = [
            replace(b, columns=[np.full(n, unit) if c is None else unit * c for c in b.columns])
            for b in blocks
        ]
    cp = cross_products(design.y, design.X, blocks, noise, places)
    return Problem(cp, _covariance(design, cp.layout)), blocks


def _covariance(design: Design, layout: Layout) -> Covariance:
    """Return theta's map to the templates of the blocks."""
    terms = [
        TermCovariance(term.kind, place.block, place.first, place.whitening)
        for term, place in zip(design.terms, layout.places, strict=True)
    ]
    return Covariance(terms, [k for k, _ in layout.shapes])


def response(design: Design) -> Array:
    """Return the response less the offset."""
    return design.y if design.offset is None else design.y - design.offset


def _check_scale(design: Design) -> None:
    """Refuse a response whose squares are beyond double precision."""
    elsewhere = design.rows.elsewhere
    peak = float(np.abs(response(design)).max()) if elsewhere is None else elsewhere.peak
    if not 1e-140 < peak < 1e140:
        raise DesignError(
            f"response {design.endog_name!r} is of the order {peak:.0e}: its squares are beyond "
            "what the computer's numbers can hold. Give it in other units."
        )
