"""The terms of the fixed part written with one indicator for each level of a factor."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import patsy
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.inference.fixed.fixed_terms import FixedTerm

Array = NDArray[np.float64]

__all__ = ["indicator_columns", "missing_cells"]


def indicator_columns(design: Design, terms: Sequence[FixedTerm]) -> tuple[Array, NDArray[np.intp]]:
    """Return all columns of every term, one a combination of levels, and the term of each.

    Reference levels come last within a term, so that the independent columns are those of
    treatment coding.
    """
    matrices = design.matrices
    assert design.frame is not None
    data = matrices.new_data(design.frame, matrices.pieces("fixed"))
    blocks, owner = [], []
    by_name = {term.name(): term for term in matrices.infos[0].terms}
    for i, term in enumerate(terms):
        info = _indicator_info(matrices.infos[0], by_name[term.name])
        block = np.ones((len(design.y), 1))
        if term.factors:
            block = np.asarray(patsy.build_design_matrices([info], data)[0])
        blocks.append(block)
        owner.append(np.full(block.shape[1], i))
    return np.column_stack(blocks), np.concatenate(owner)


def _indicator_info(info: patsy.DesignInfo, term: patsy.Term) -> patsy.DesignInfo:
    """Return patsy's description of one term, every factor coded by an indicator a level."""
    factors = {factor: info.factor_infos[factor] for factor in term.factors}
    codings = {}
    width = 1
    for factor, about in factors.items():
        if about.type == "categorical":
            levels = len(about.categories)
            indicators = np.roll(np.eye(levels), -1, axis=1)
            codings[factor] = patsy.ContrastMatrix(indicators, [str(j) for j in range(levels)])
            width *= levels
        else:
            width *= about.num_columns
    subterm = patsy.design_info.SubtermInfo(term.factors, codings, width)
    names = [str(j) for j in range(width)]
    return patsy.DesignInfo(names, factors, OrderedDict({term: [subterm]}))


def missing_cells(design: Design, terms: Sequence[FixedTerm]) -> dict[str, list[str]]:
    """Return for each term the combinations of its factors' levels that have no row.

    Parameters
    ----------
    design : Design
        From a formula; its rows are needed.
    terms : sequence of FixedTerm

    Returns
    -------
    dict of str to list of str
        By the name of the term, without those that have none missing; "A:175", for example.
    """
    matrices = design.matrices
    assert design.frame is not None
    data = matrices.new_data(design.frame, matrices.pieces("fixed"))
    by_name = {term.name(): term for term in matrices.infos[0].terms}
    out = {}
    for term in terms:
        factors = [f for f in by_name[term.name].factors if f.code not in term.numeric]
        if len(factors) > 1:
            absent = _absent(matrices.infos[0], factors, data)
            if absent:
                out[term.name] = absent
    return out


def _absent(
    info: patsy.DesignInfo, factors: Sequence[patsy.EvalFactor], data: Mapping[str, Any]
) -> list[str]:
    """Return the combinations of levels of some factors that no row has."""
    codes, levels = [], []
    for factor in factors:
        alone = _indicator_info(info, patsy.Term([factor]))
        indicators = np.asarray(patsy.build_design_matrices([alone], data)[0])
        categories = info.factor_infos[factor].categories
        codes.append((np.argmax(indicators, axis=1) + 1) % len(categories))  # the reference is last
        levels.append([str(level) for level in categories])
    there = set(map(tuple, np.unique(np.column_stack(codes), axis=0).tolist()))
    every = product(*(range(len(names)) for names in levels))
    return [
        ":".join(names[i] for names, i in zip(levels, cell)) for cell in every if cell not in there
    ]
