"""From a design to the engine's problem: terms merged into blocks, columns whitened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.covariance import Covariance, TermCovariance
from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.linalg.crossproducts import BlockData, cross_products
from mixedlm_ext.linalg.factor import Pattern
from mixedlm_ext.linalg.orthogonal import lower_whitening
from mixedlm_ext.linalg.triangular import solve_upper
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
    """
    groups = _merge(design.terms)
    groups.sort(key=lambda g: -len(design.terms[g[0]].levels) * _width(design.terms, g))
    terms: list[TermCovariance | None] = [None] * len(design.terms)
    blocks = []
    for block, members in enumerate(groups):
        columns: list[Array | None] = []
        for i in members:
            term = design.terms[i]
            whitening = _whitening(term, design.weights)
            k = len(term.columns)
            terms[i] = TermCovariance(k, term.structure, block, len(columns), whitening)
            columns += _whitened(term, whitening)
        first = design.terms[members[0]]
        blocks.append(BlockData(first.codes, columns, len(first.levels)))
    covariance = Covariance([t for t in terms if t is not None], [b.k for b in blocks])
    cp = cross_products(response(design), design.X, blocks, design.weights)
    return Problem(cp, covariance, Pattern(cp))


def response(design: Design) -> Array:
    """Return the response less the offset."""
    return design.y if design.offset is None else design.y - design.offset


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


def _whitening(term: TermDesign, weights: Array | None) -> Array:
    """Return the lower-triangular R with R'R = X'WX/n of the term's columns."""
    X = term.X if weights is None else term.X * np.sqrt(weights)[:, None]
    return lower_whitening(X.T @ X / len(X), term.structure)


def _whitened(term: TermDesign, whitening: Array) -> list[Array | None]:
    """Return the columns of XR⁻¹, None for a column of ones."""
    inverse = solve_upper(whitening.T, np.eye(len(whitening)), transpose=True)
    if len(inverse) == 1:
        column = term.X[:, 0] * inverse[0, 0]
        return [None if (column == 1.0).all() else column]
    return list((term.X @ inverse).T.copy())
