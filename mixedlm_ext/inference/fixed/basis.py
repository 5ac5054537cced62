"""The rows from which Fai and Cornelius' degrees of freedom of a joint test are computed.

They depend a little on how a hypothesis Lβ = 0 is written. So that one hypothesis has one value, L
is brought to a form that depends on its row space alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.fixed.fixed_terms import fixed_terms
from mixedlm_ext.inference.fixed.hypotheses import echelon, is_only_effect, type1

Array = NDArray[np.float64]

__all__ = ["basis_of_test"]


def basis_of_test(fit: Fit, L: Array) -> Array:
    """Return rows that span the same hypothesis as L, however L is written.

    Parameters
    ----------
    fit : Fit
    L : ndarray (r, p)
        Of rank r.

    Returns
    -------
    ndarray (r, p)
        The rows of type I for the only effect of a model, as in all tables of lmerTest; otherwise
        the reduced echelon form, in which the coefficients of a term are rows of the identity.
    """
    lengths = np.linalg.norm(fit.problem.cp.R, axis=0)
    terms = fixed_terms(fit.design)
    if len(L) > 1 and is_only_effect(terms):
        (effect,) = (i for i, term in enumerate(terms) if term.factors)
        rows = type1(fit.unweighted_root, terms)[effect]
        if len(rows) == len(L) == len(independent_columns((np.vstack([rows, L]) / lengths).T)):
            return rows
    return echelon(L, lengths)
