"""The checks of a design, of rows that were looked at in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixedlm_ext.batches.learning import Learnt
from mixedlm_ext.batches.summing import Summed
from mixedlm_ext.design.checks import check_response_values, check_size
from mixedlm_ext.design.facts import KnownPair, KnownTerm
from mixedlm_ext.design.fixed import FixedPart, keep_columns
from mixedlm_ext.design.from_formula import check_one_level, warn_of_times
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.records import TermDesign, TermSpec
from mixedlm_ext.design.term_checks import check_term, repeated_column
from mixedlm_ext.errors import FormulaError
from mixedlm_ext.products.products import CrossProducts

__all__ = ["checked"]

Floats = npt.NDArray[np.float64]


def checked(
    learnt: Learnt,
    specs: Sequence[TermSpec],
    summed: Summed,
    roots: Sequence[Floats],
    drop_cols: Any,
    checks: Checks,
    allow_saturated: bool,
) -> FixedPart:
    """Check what `design_from_formula` checks, in its order; return the fixed part."""
    facts = summed.facts
    response = learnt.matrices.pieces("response")[0].text
    residual = facts.residual.extremes() if facts.offset.n else None
    check_response_values(facts.y.extremes(), response, residual, facts.y.n)
    names = learnt.matrices.names(0)
    for name, *extremes in zip(names, facts.X.low, facts.X.high):
        check_size(np.array(extremes), f"{name!r} in the fixed part")
    for spec, part in zip(specs, facts.terms, strict=True):
        for name, *extremes in zip(spec.columns, part.low, part.high):
            check_size(np.array(extremes), f"{name!r} in the random term {spec.text}")
    terms = _known_terms(specs, [f.known(root) for f, root in zip(facts.terms, roots[1:])])
    for term in terms:
        check_term(term, checks, allow_saturated=allow_saturated)
    repeated = repeated_column(terms, _known_pairs(summed, specs))
    if repeated is not None:
        i, problem, advice = repeated
        formula = learnt.formula
        error = FormulaError(problem, formula.text, formula.random[i].span, advice)
        checks.report("repeated", error)
    check_one_level(learnt.matrices.without_columns(0), checks)
    warn_of_times(learnt.matrices)
    return keep_columns(roots[0], names, None, drop_cols, checks, facts.y.n)


def _known_terms(specs: Sequence[TermSpec], known: Sequence[KnownTerm]) -> list[TermDesign]:
    """Return the terms without rows, with what is known of them."""
    return [
        TermDesign(
            **vars(spec),
            X=np.zeros((0, len(spec.columns))),
            codes=np.zeros(0, np.intp),
            known=facts,
        )
        for spec, facts in zip(specs, known, strict=True)
    ]


def _known_pairs(summed: Summed, specs: Sequence[TermSpec]) -> dict[tuple[int, int], KnownPair]:
    """Return the facts of each two terms, the later one first."""
    cp, equal = summed.products, summed.facts.pairs.equal
    return {
        (i, j): KnownPair(_same_groups(cp, i, j), equal[i + 1, j + 1])
        for i in range(len(specs))
        for j in range(i)
    }


def _same_groups(cp: CrossProducts, i: int, j: int) -> bool:
    """Whether two terms divide the rows in the same way: each level meets one of the other."""
    one, two = sorted((cp.layout.places[i].block, cp.layout.places[j].block))
    if one == two:
        return True
    q, r = cp.shapes[one][1], cp.shapes[two][1]
    return q == r == len(cp.couplings[one, two].rows)
