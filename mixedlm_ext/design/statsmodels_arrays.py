"""statsmodels' array spelling of the random effects (groups, exog_re, exog_vc) -> `RandomTerm`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.frame import one_per_row
from mixedlm_ext.design.records import RandomTerm
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.errors import DesignError

__all__ = ["is_groups", "terms_of_groups"]

Floats = npt.NDArray[np.float64]


def is_groups(random: Any) -> bool:
    """Say whether the argument `random` holds groups, statsmodels' third argument."""
    if hasattr(random, "dtype"):
        return True
    plain = isinstance(random, list | tuple) and len(random) > 0
    return plain and all(pd.api.types.is_scalar(value) for value in random)


def terms_of_groups(groups: Any, exog_re: Any, exog_vc: Any) -> list[RandomTerm]:
    """Return the random terms of statsmodels' arguments.

    Parameters
    ----------
    groups : array-like (n,)
    exog_re : array-like (n,) or (n, k), optional
        Columns with correlated random effects; ones if neither this nor `exog_vc` is given.
    exog_vc : VCSpec, optional
        Variance components: names, column names and, for each, a matrix for each group.

    Returns
    -------
    list of RandomTerm

    Raises
    ------
    DesignError
        If the parts do not fit together.
    """
    shape = row_shape(groups, "groups")
    if len(shape) != 1:
        hint = " Pass its values, as in data['g']." if isinstance(groups, str) else ""
        raise DesignError(f"groups needs one value a row, not {type(groups).__name__}.{hint}")
    terms = []
    if exog_re is not None or exog_vc is None:
        terms.append(RandomTerm(groups, exog_re))
    if exog_vc is not None:
        terms += _components(one_per_row(groups, "groups", shape[0]), exog_vc)
    return terms


def _components(groups: pd.Series, spec: Any) -> list[RandomTerm]:
    """Return a term for each entry of a VCSpec."""
    codes, labels = pd.factorize(groups, sort=True)
    parts = _parts(spec, labels)
    return [
        _component(groups, str(name), [list(map(str, c)) for c in colnames], mats, codes, labels)
        for name, colnames, mats in zip(*parts, strict=True)
    ]


def _parts(spec: Any, labels: pd.Index) -> list[Any]:
    """Return names, column names and matrices of a VCSpec, or of a dict name -> group -> matrix."""
    if isinstance(spec, Mapping) and all(isinstance(own, Mapping) for own in spec.values()):
        names = sorted(spec)
        for name in names:
            lacking = [label for label in labels if label not in spec[name]]
            if lacking:
                raise DesignError(f"exog_vc[{name!r}] has no matrix for the group {lacking[0]!r}.")
        mats = [[np.asarray(spec[name][label], dtype=float) for label in labels] for name in names]
        mats = [[m.reshape(len(m), -1) for m in own] for own in mats]
        return [names, [[[f"c{j}" for j in range(m.shape[1])] for m in own] for own in mats], mats]
    parts = [getattr(spec, name, None) for name in ("names", "colnames", "mats")]
    if any(part is None for part in parts):
        raise DesignError(
            f"exog_vc is {type(spec).__name__}; it needs names, colnames and mats, as statsmodels' "
            "VCSpec has them. Or pass random=[RandomTerm(groups, columns, structure='iid')]."
        )
    return parts


def _component(
    groups: pd.Series,
    name: str,
    colnames: Sequence[list[str]],
    mats: Sequence[Any],
    codes: npt.NDArray[np.intp],
    labels: pd.Index,
) -> RandomTerm:
    """Return the term of one entry: independent effects of all columns in all groups.

    Where no row has two columns that are not zero, the columns are levels below the groups, and
    there may be as many as there are.
    """
    if len(mats) != len(labels):
        raise DesignError(
            f"exog_vc has {len(mats)} matrices for {name!r}; there are {len(labels)} groups."
        )
    columns = {c: i for i, c in enumerate(dict.fromkeys(c for own in colnames for c in own))}
    which = np.zeros(len(groups), np.intp)
    values = np.zeros(len(groups))
    several = False
    for group, (own, matrix) in enumerate(zip(colnames, mats, strict=True)):
        rows = np.flatnonzero(codes == group)
        M = _matrix(matrix, len(rows), len(own), name, labels[group])
        several |= bool((np.count_nonzero(M, axis=1) > 1).any())
        if len(own):
            first = np.abs(M).argmax(axis=1)
            which[rows] = np.array([columns[c] for c in own])[first]
            values[rows] = M[np.arange(len(rows)), first]
    if several:
        X = np.zeros((len(groups), len(columns)))
        for group, (own, matrix) in enumerate(zip(colnames, mats, strict=True)):
            X[np.ix_(codes == group, [columns[c] for c in own])] = np.asarray(matrix)
        return RandomTerm(groups, X, name, list(columns), "iid")
    below = np.array(list(columns), dtype=object)[which]
    return RandomTerm((groups, pd.Series(below, name=name)), values, name)


def _matrix(matrix: Any, n: int, k: int, name: str, group: Any) -> Floats:
    """Return the matrix of one group, of the shape that it needs."""
    M = np.asarray(matrix, dtype=float)
    if M.shape != (n, k):
        raise DesignError(
            f"exog_vc has a matrix of shape {M.shape} for {name!r} and the group {group!r}; it "
            f"needs {(n, k)}."
        )
    return M
