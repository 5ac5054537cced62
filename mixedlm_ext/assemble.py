"""From a design to the engine's problem: terms merged into blocks, columns whitened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.covariance import Covariance, TermCovariance
from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.errors import DesignError
from mixedlm_ext.linalg.crossproducts import BlockData, cross_products
from mixedlm_ext.linalg.factor import Pattern
from mixedlm_ext.linalg.orthogonal import whiten
from mixedlm_ext.pls import Problem

Array = NDArray[np.float64]

__all__ = ["assemble", "response"]


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
    groups = _merge(design.terms)
    groups.sort(key=lambda g: -len(design.terms[g[0]].levels) * _width(design.terms, g))
    terms: list[TermCovariance | None] = [None] * len(design.terms)
    blocks = []
    for block, members in enumerate(groups):
        columns: list[Array | None] = []
        for i in members:
            term = design.terms[i]
            own, whitening = _whitened(term, design.weights)
            terms[i] = TermCovariance(term.kind, block, len(columns), whitening)
            columns += own
        first = design.terms[members[0]]
        blocks.append(BlockData(first.codes, columns, len(first.levels)))
    covariance = Covariance([t for t in terms if t is not None], [b.k for b in blocks])
    cp = cross_products(response(design), design.X, blocks, design.weights)
    return Problem(cp, covariance, Pattern(cp))


def response(design: Design) -> Array:
    """Return the response less the offset."""
    return design.y if design.offset is None else design.y - design.offset


def _check_scale(design: Design) -> None:
    """Refuse a response whose squares are beyond double precision."""
    peak = float(np.abs(response(design)).max())
    if not 1e-140 < peak < 1e140:
        raise DesignError(
            f"response {design.endog_name!r} is of the order {peak:.0e}: its squares are beyond "
            "what the computer's numbers can hold. Give it in other units."
        )


def _merge(terms: Sequence[TermDesign]) -> list[list[int]]:
    """Collect the terms that share their grouping."""
    groups: list[list[int]] = []
    for i, term in enumerate(terms):
        for members in groups:
            other = terms[members[0]]
            if len(other.levels) == len(term.levels) and np.array_equal(other.codes, term.codes):
                members.append(i)
                break
        else:
            groups.append([i])
    return groups


def _width(terms: Sequence[TermDesign], members: Sequence[int]) -> int:
    """Columns a level of the terms together."""
    return sum(len(terms[i].columns) for i in members)


def _whitened(term: TermDesign, weights: Array | None) -> tuple[list[Array | None], Array]:
    """Return the columns of XR⁻¹, None for a column of ones, and R with R'R = X'WX/n."""
    root = None if weights is None else np.sqrt(weights)[:, None]
    W, R = whiten(term.X if root is None else term.X * root, term.kind.whitening)
    scale = np.sqrt(len(W))
    columns = W * scale if root is None else W * scale / root
    ones = len(R) == 1 and bool((np.abs(columns - 1.0) < 1e-14).all())
    return [None] if ones else list(columns.T.copy()), R / scale
