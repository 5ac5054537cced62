"""From a design to the engine's problem: terms merged into blocks, columns whitened."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design
from mixedlm_ext.errors import DesignError
from mixedlm_ext.products.layout import BlockData, Layout
from mixedlm_ext.products.noise import EqualVariances, noise_of
from mixedlm_ext.products.rows import cross_products, lay_out, shared_groups
from mixedlm_ext.structures.covariance import Covariance, TermCovariance

Array = NDArray[np.float64]

__all__ = ["assemble", "lay_out_terms", "response"]


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
    if elsewhere is not None:
        return Problem(elsewhere.products, _covariance(design, elsewhere.products.layout))
    noise = noise_of(design)
    places, blocks = lay_out(design.terms, shared_groups(design.terms), noise)
    cp = cross_products(response(design), design.X, blocks, noise, places)
    return Problem(cp, _covariance(design, cp.layout))


def lay_out_terms(design: Design) -> tuple[Problem, list[BlockData]]:
    """Return the problem of a design with equal weights, and its rows in blocks.

    What is weighed anew in each step of a fit needs the layout, the pattern and the rows.
    """
    noise = EqualVariances(len(design.y))
    places, blocks = lay_out(design.terms, shared_groups(design.terms), noise)
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
