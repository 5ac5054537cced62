"""Reading known covariances: a labelled matrix, or its inverse, checked and taken apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from mixedlm_ext.design.column import is_polars
from mixedlm_ext.design.keys import match_keys
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DesignError, DesignWarning, warn_caller
from mixedlm_ext.linalg.precision import SparsePrecision
from mixedlm_ext.linalg.semidefinite import largest_part, root, sparse_root

__all__ = ["known_matrix"]

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-8
"""Difference of K_lm and K_ml, relative to the largest entry, that is no more than rounding."""
_SPARSE = 0.1
"""Share of entries up to which a matrix is worth being treated as sparse."""
_MOST = 15_000
"""Levels of one dense matrix."""
_LABELLED = (
    "Pass a DataFrame whose index and columns are the levels, or a tuple (matrix, labels) for a "
    "numpy array or a sparse matrix."
)


def known_matrix(value: Any, what: str, *, inverse: bool = False) -> KnownMatrix:
    """Read a labelled covariance matrix, or its inverse.

    Parameters
    ----------
    value : DataFrame, tuple of matrix and labels, or KnownMatrix
        Symmetric, positive semidefinite; positive definite if it is the inverse. The matrix of a
        tuple is an array or a sparse one.
    what : str
        Its name for messages, ``"cov=A"``.
    inverse : bool
        Whether it is the precision K⁻¹.

    Returns
    -------
    KnownMatrix

    Raises
    ------
    DesignError
        If it is not such a matrix.

    Warns
    -----
    DesignWarning
        If a covariance has the diagonal of coefficients of kinship, half of what relatives share.

    Examples
    --------
    >>> A = pd.DataFrame([[1.0, 0.5], [0.5, 1.0]], ["ann", "bob"], ["ann", "bob"])
    >>> known_matrix(A, "cov=A").diagonal.tolist()
    [1.0, 1.0]
    """
    if isinstance(value, KnownMatrix):
        if inverse:
            raise DesignError(f"{what} is a known covariance, not its inverse. Write cov= for it.")
        return value
    matrix, labels = _labelled(value, what)
    matrix = _checked(matrix, labels, what)
    if inverse:
        return _of_precision(matrix, labels, what)
    _check_size(matrix, what)
    diagonal = np.asarray(matrix.diagonal(), dtype=float)
    _check_diagonal(diagonal, labels, what)
    try:
        C = sparse_root(matrix) if isinstance(matrix, sparse.csr_array) else root(matrix)
    except np.linalg.LinAlgError:
        raise _indefinite(what) from None
    return KnownMatrix(labels, C, None, diagonal)


def _indefinite(what: str) -> DesignError:
    """Return the error for a matrix that is no covariance."""
    return DesignError(
        f"{what} is no covariance matrix: it has a negative eigenvalue. Check how it was made; "
        "rounding to few digits does it, and so do correlations that were estimated pair by pair."
    )


def _of_precision(matrix: Floats | sparse.csr_array, labels: pd.Index, what: str) -> KnownMatrix:
    """Return the covariance of a precision; of a dense one by its root."""
    try:
        if isinstance(matrix, sparse.csr_array):
            return KnownMatrix(labels, None, SparsePrecision(sparse.csc_array(matrix)))
        L = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise DesignError(
            f"{what} is not positive definite, so that it is the inverse of no covariance matrix. "
            "An intrinsic prior, whose rows sum to zero, becomes one with a small number added to "
            "its diagonal."
        ) from None
    C = np.asarray(np.linalg.solve(L, np.eye(len(L))).T)
    return KnownMatrix(labels, C, None, np.einsum("lr,lr->l", C, C))


# --- reading --------------------------------------------------------------------------------------


def _labelled(value: Any, what: str) -> tuple[Any, pd.Index]:
    """Return a matrix and its labels."""
    if isinstance(value, pd.DataFrame):
        return _of_frame(value, what)
    if isinstance(value, tuple | list) and len(value) == 2 and np.ndim(value[0]) == 2:
        matrix, labels = value
        return matrix, _index(labels, what)
    if is_polars(value):
        raise DesignError(f"{what} is a polars frame, whose rows have no labels. {_LABELLED}")
    kind = type(value).__name__
    if np.ndim(value) == 2:
        raise DesignError(
            f"{what} is a {kind}, which does not say which row is which level. {_LABELLED}"
        )
    raise DesignError(f"{what} is a {kind}, not a labelled matrix. {_LABELLED}")


def _index(labels: Any, what: str) -> pd.Index:
    """Return the labels of a tuple."""
    try:
        return pd.Index(list(labels), tupleize_cols=False)
    except TypeError:
        raise DesignError(
            f"the labels of {what} are a {type(labels).__name__}. {_LABELLED}"
        ) from None


def _of_frame(frame: pd.DataFrame, what: str) -> tuple[Any, pd.Index]:
    """Return the matrix of a frame, its columns in the order of its index."""
    rows, columns = frame.index, frame.columns
    if frame.shape[0] != frame.shape[1]:
        raise DesignError(
            f"{what} has {frame.shape[0]} rows and {frame.shape[1]} columns; a covariance of "
            "levels is square. Is a column of labels to be its index: set_index?"
        )
    _check_labels(rows, what)
    _check_labels(columns, f"the columns of {what}")
    place = match_keys(rows, columns, f"the index of {what}")
    if (place < 0).any():
        lost = rows[int(np.flatnonzero(place < 0)[0])]
        raise DesignError(f"{what} has the row {quoted(lost)} and no such column. {_LABELLED}")
    kinds = [getattr(dtype, "subtype", dtype) for dtype in frame.dtypes]
    if len(frame) and all(isinstance(dtype, pd.SparseDtype) for dtype in frame.dtypes):
        accessor: Any = frame.sparse
        matrix: Any = sparse.csc_array(accessor.to_coo())
    elif all(getattr(kind, "kind", "O") in "biuf" for kind in kinds):
        matrix = frame.to_numpy(dtype=float, na_value=np.nan)
    else:
        raise DesignError(f"{what} has columns that are no numbers.")
    if not np.array_equal(place, np.arange(len(place))):
        matrix = matrix[:, place]
    return matrix, rows


def _check_labels(labels: pd.Index, what: str) -> None:
    """Refuse labels that name no level, or one twice."""
    if isinstance(labels, pd.MultiIndex):
        raise DesignError(f"{what} has labels of several parts; the levels of a factor have one.")
    if labels.isna().any():
        raise DesignError(f"{what} has a missing label.")
    if labels.has_duplicates:
        twice = labels[labels.duplicated()][0]
        raise DesignError(f"{what} has the label {quoted(twice)} twice; each level stands once.")


def _checked(matrix: Any, labels: pd.Index, what: str) -> Floats | sparse.csr_array:
    """Return the matrix as numbers, symmetric to the last digit; sparse if it mostly is zero."""
    is_sparse: bool = sparse.issparse(matrix)
    matrix = matrix if is_sparse else np.asarray(matrix)
    dtype = matrix.dtype
    if dtype.kind not in "biuf":
        raise DesignError(f"{what} has the type {dtype}; it needs numbers.")
    n, m = matrix.shape
    if n != m:
        raise DesignError(f"{what} has {n} rows and {m} columns; a covariance of levels is square.")
    if n != len(labels):
        raise DesignError(f"{what} has {n} rows and {len(labels)} labels; each row needs one.")
    if n == 0:
        raise DesignError(f"{what} has no rows.")
    _check_labels(labels, what)
    known: Any = (
        sparse.csr_array(matrix, dtype=float) if is_sparse else np.asarray(matrix, dtype=float)
    )
    numbers = known.data if is_sparse else known
    if not np.isfinite(numbers).all():
        raise DesignError(f"{what} has values that are missing or infinite.")
    _check_symmetric(known, labels, what)
    known = 0.5 * (known + known.T)
    count = known.count_nonzero() if is_sparse else np.count_nonzero(known)
    if count > _SPARSE * n**2:
        return known.toarray() if is_sparse else known
    return sparse.csr_array(known)


def _check_symmetric(known: Any, labels: pd.Index, what: str) -> None:
    """Refuse a matrix that is not symmetric, with the pair that differs most."""
    difference: Any = abs(known - known.T)
    largest = abs(known).max()
    worst = difference.max()
    if worst > _ROUNDING * largest:
        if not isinstance(difference, np.ndarray):
            entries: Any = difference.tocoo()
            at = int(np.argmax(entries.data))
            a, b = int(entries.row[at]), int(entries.col[at])
        else:
            a, b = (int(i) for i in np.unravel_index(np.argmax(difference), difference.shape))
        raise DesignError(
            f"{what} is not symmetric: {quoted(labels[a])} with {quoted(labels[b])} is "
            f"{known[a, b]:g}, the other way round {known[b, a]:g}. A triangle alone is not enough."
        )


def _check_size(matrix: Any, what: str) -> None:
    """Refuse a matrix whose dense root would take hours."""
    joined = len(matrix) if isinstance(matrix, np.ndarray) else largest_part(matrix)
    if joined > _MOST:
        raise DesignError(
            f"{what} joins {joined:,} levels, more than the {_MOST:,} that are treated as one "
            "dense matrix. Pass its inverse as prec=, if that is sparse, or a pedigree."
        )


def _check_diagonal(diagonal: Floats, labels: pd.Index, what: str) -> None:
    """Refuse variances that are not positive; warn of kinship in place of relationship."""
    least = int(np.argmin(diagonal))
    if not diagonal[least] > 0:
        found = "negative" if diagonal[least] < 0 else "zero"
        raise DesignError(
            f"{what} has the variance {diagonal[least]:g} for {quoted(labels[least])}; a {found} "
            "variance says nothing of a level. Leave the level out of the matrix and of the data."
        )
    if 0.45 <= float(np.median(diagonal)) <= 0.55 and diagonal.max() <= 1.0:
        warn_caller(
            f"the diagonal of {what} is near 0.5, as that of a kinship matrix. Variances are those "
            "of relationships, twice the kinship: pass 2 * K, or the estimated standard deviation "
            "is larger by the square root of 2.",
            DesignWarning,
        )
