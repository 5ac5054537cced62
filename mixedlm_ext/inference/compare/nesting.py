"""Whether one model is a special case of another, found from their designs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.inference.compare.regression import LinearDesign
from mixedlm_ext.products.noise import noise_of_weights
from mixedlm_ext.residual.structure import ResidualStructure
from mixedlm_ext.structures import structure_of

Array = NDArray[np.float64]

__all__ = ["is_nested", "same_fixed_columns"]

_TOLERANCE = 1e-8
_SEED = 20150107
"""The probes are random but the same in every call, so that the answer is, too."""


def is_nested(small: Design | LinearDesign, large: Design | LinearDesign) -> bool:
    """Say whether every distribution of `small` is one of `large`.

    Parameters
    ----------
    small, large : Design or LinearDesign
        Of the same rows and response.

    Notes
    -----
    The means are nested if the columns of X are combinations of the other's. The covariances,
    linear in the variances and covariances of the random effects, are compared through what they
    do to random vectors: V -> (u'Vw) for several pairs u, w. This finds (1 | g:f) in (0 + f | g),
    too.
    """
    return (
        _means_nested(small, large)
        and _residuals_nested(small.residual, large.residual)
        and _covariances_nested(small, large)
    )


def _residuals_nested(small: ResidualStructure | None, large: ResidualStructure | None) -> bool:
    """Say whether every structure of the residuals of one is one of the other.

    Those of the same words are; what differs in its words is not known to be.
    """
    if small is None:
        return True
    if large is None:
        return False
    same = small.correlation is None or (
        large.correlation is not None and small.correlation.text == large.correlation.text
    )
    factors = {part.text for part in large.variances}
    return same and all(part.text in factors for part in small.variances)


def same_fixed_columns(one: Design, two: Design) -> bool:
    """Say whether two designs have the same X, up to the order of its columns."""
    if one.X.shape != two.X.shape:
        return False
    columns = [sorted(map(bytes, np.ascontiguousarray(design.X.T))) for design in (one, two)]
    return columns[0] == columns[1]


def _means_nested(small: Design | LinearDesign, large: Design | LinearDesign) -> bool:
    """Compare the column spaces; offsets may differ by a combination of columns."""
    targets = [small.X]
    zero = np.zeros(len(small.y))
    offsets = [zero if d.offset is None else d.offset for d in (small, large)]
    if (offsets[0] != offsets[1]).any():
        targets.append((offsets[0] - offsets[1])[:, None])
    return _in_span(np.column_stack(targets), large.X)


def _covariances_nested(small: Design | LinearDesign, large: Design | LinearDesign) -> bool:
    """Compare the linear spaces of covariance matrices by random bilinear forms.

    Of a structure that is no linear space, only terms of the same columns are found to be cases.
    """
    left = list(small.terms)
    for term in large.terms:
        own = None if term.kind.linear else next((t for t in left if _is_case(t, term)), None)
        left = [t for t in left if t is not own]
    spaces = [term for term in large.terms if term.kind.linear]
    rng = np.random.default_rng(_SEED)
    rows = []
    for _ in range(_n_directions(small) + _n_directions(large) + 10):
        u, w = rng.standard_normal((2, len(small.y)))
        rows.append((_forms(small, left, u, w), _forms(large, spaces, u, w)))
    of_small, of_large = (np.array(column) for column in zip(*rows))
    return _in_span(of_small, of_large)


def _is_case(term: TermDesign, other: TermDesign) -> bool:
    """Say whether one term is another with a special covariance."""
    return (
        term.X.shape == other.X.shape
        and np.array_equal(term.X, other.X)
        and len(term.levels) == len(other.levels)
        and np.array_equal(term.codes, other.codes)
        and term.related is other.related
        and other.kind.contains(term.kind)
    )


def _n_directions(design: Design | LinearDesign) -> int:
    """Return the number of variances and covariances, the residual's among them."""
    return 1 + sum(len(_directions(term)) for term in design.terms)


def _directions(term: TermDesign) -> Array:
    """Return what spans the covariances of a term; a structure may have fewer than its span."""
    k = len(term.columns)
    return (term.kind if term.kind.linear else structure_of("us", k)).parameter_directions()


def _forms(
    design: Design | LinearDesign, terms: Sequence[TermDesign], u: Array, w: Array
) -> list[float]:
    """Return u'Dw for the derivative D of V in every variance and covariance."""
    out = [float(u @ noise_of_weights(design).solve(w))]
    for term in terms:
        left, right = term.sums(u), term.sums(w)
        across = left.T @ (right if term.related is None else term.related.times(right))
        out += [float((D * across).sum()) for D in _directions(term)]
    return out


def _in_span(targets: Array, columns: Array) -> bool:
    """Say whether all `targets` are combinations of `columns`."""
    lengths = np.linalg.norm(columns, axis=0)
    columns = columns / np.where(lengths > 0, lengths, 1.0)
    rest = targets - columns @ np.linalg.lstsq(columns, targets, rcond=None)[0]
    return bool(
        (np.linalg.norm(rest, axis=0) <= _TOLERANCE * np.linalg.norm(targets, axis=0)).all()
    )
