"""Variance components of statsmodels' ``vc_formula``, settled by their columns in the data.

The columns of an entry are independent in every group and have one variance. Where the entry is one
factor, or an interaction of factors and numbers, its columns are indicators times one regressor z,
and no row has more than one that is not zero. The effects are then those of the levels of
group:factor: ``(0 + z | group:factor)``, with one column however many levels the factor has.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import patsy

from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.design.used import Columns
from mixedlm_ext.language.mixed_formula import MixedFormula, RandomTermSpec

__all__ = ["settle_components"]


def settle_components(formula: MixedFormula, frame: Columns, scope: Scope) -> MixedFormula:
    """Write the variance components of a formula as random terms.

    Parameters
    ----------
    formula : MixedFormula
    frame : DataFrame
        The used columns and rows of the data.
    scope : Scope

    Returns
    -------
    MixedFormula
        Components that are no interaction keep the structure "iid", unless they have one column.
    """
    if not any(_is_open(spec) for spec in formula.random):
        return formula
    infos = FormulaMatrices(formula, frame, scope).infos[1:]
    random = (
        _settled(spec, info) if _is_open(spec) else spec
        for spec, info in zip(formula.random, infos, strict=True)
    )
    return replace(formula, random=tuple(random))


def _is_open(spec: RandomTermSpec) -> bool:
    """Whether a term is a component that was not settled before."""
    return spec.is_component and spec.structure == "iid"


def _settled(spec: RandomTermSpec, info: patsy.DesignInfo) -> RandomTermSpec:
    """Return the term of one component."""
    parts = _interaction(info)
    if parts is None:
        return spec if len(info.column_names) > 1 else replace(spec, structure="us")
    factors, numbers = parts
    expr = f"0 + {':'.join(numbers)}" if numbers else "1"
    return replace(spec, expr=expr, group=(*spec.group, *factors), structure="us")


def _interaction(info: patsy.DesignInfo) -> tuple[list[str], list[str]] | None:
    """Return the factors and the numbers whose interaction a side is; None if it is anything else.

    A factor has to be coded by one indicator a level.
    """
    codings = [subterm for subterms in info.term_codings.values() for subterm in subterms]
    if len(codings) != 1:
        return None
    factors, numbers = [], []
    for factor in codings[0].factors:
        if info.factor_infos[factor].type == "numerical":
            if info.factor_infos[factor].num_columns != 1:
                return None
            numbers.append(factor.code)
        else:
            coding = codings[0].contrast_matrices[factor].matrix
            if not np.array_equal(coding, np.eye(len(coding))):
                return None
            factors.append(factor.code)
    return factors, numbers
