"""What has correlations in a fit: columns of a term, levels of known covariance, residuals."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design.records import TermSpec
from mixedlm_ext.plots.figure import PlotError
from mixedlm_ext.plots.labels import bare
from mixedlm_ext.plots.pairs import mean_by_distance, pairs_within, residual_products
from mixedlm_ext.plots.selection import estimated, level_names
from mixedlm_ext.structures.positions import range_of_correlation

Array = NDArray[np.float64]

__all__ = ["ByDistance", "Matrix", "Source", "of_columns", "of_levels", "of_residuals"]

_MOST_LEVELS = 600
"""Rows and columns of a matrix that is drawn."""
_MOST_POINTS = 60
"""Distances that have a point each on a curve."""
_FEWEST_PAIRS = 8
"""Pairs of rows that make a point."""
_CELL = re.compile(r"^(.*)\[(?:T\.|S\.)?(.*)\]$")
_PLACE = re.compile(r"^position\((.*)\)$")


@dataclass(frozen=True, eq=False)
class ByDistance:
    """Correlations by distance.

    Attributes
    ----------
    title, x : str
        Above and below the picture; a new line is where the title breaks first.
    distance, correlation : ndarray (m,)
        Of the model.
    curve : tuple of ndarray or None
        The model between its points.
    observed : tuple of ndarray or None
        Distances and correlations that rows of the data have.
    """

    title: str
    x: str
    distance: Array
    correlation: Array
    curve: tuple[Array, Array] | None = None
    observed: tuple[Array, Array] | None = None


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix of correlations, nan where there is none.

    Attributes
    ----------
    title, of : str
        Above the picture, and what rows and columns are.
    names : list of str
        Of its rows.
    values : ndarray (m, m)
    sd : ndarray (m,) or None
        Standard deviations of the rows, if these differ.
    """

    title: str
    of: str
    names: list[str]
    values: Array
    sd: Array | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """Something with correlations, and how it is drawn.

    Attributes
    ----------
    name : str
        The term, or "Residual".
    usual : {"lag", "matrix"}
    by_distance : function or None
        None where there is no distance.
    matrix : function
    """

    name: str
    usual: str
    by_distance: Callable[[bool], ByDistance] | None
    matrix: Callable[[], Matrix]

    def picture(self, kind: str | None, observed: bool) -> ByDistance | Matrix:
        """Return what is drawn."""
        if (kind or self.usual) == "matrix" or self.by_distance is None:
            return self.matrix()
        return self.by_distance(observed)


# ---------------------------------------------------------------- columns of a term


def of_columns(fit: Any, i: int) -> Source | None:
    """Return the correlations of the columns of a term; None if it has none."""
    term: TermSpec = fit.design.terms[i]
    if not term.correlations:
        return None
    ordered = term.kind.word in ("ar1", "toep", "exp")
    apart = ordered or _one_factor(term) is not None
    return Source(
        term.name,
        "lag" if ordered else "matrix",
        (lambda observed: _columns_by_distance(fit, i)) if apart else None,
        lambda: _columns_matrix(fit, i),
    )


def _columns_matrix(fit: Any, i: int) -> Matrix:
    """Return the correlations of each two columns."""
    term = fit.design.terms[i]
    correlations, sd = _correlations(fit, i)
    of, names = _names_of_columns(term)
    one = len(term.variances) == 1
    return Matrix(_title(term, sd), of, names, correlations, None if one else sd)


def _columns_by_distance(fit: Any, i: int) -> ByDistance:
    """Return the correlations of columns by how far these are apart."""
    term = fit.design.terms[i]
    C, sd = _correlations(fit, i)
    of, _ = _names_of_columns(term)
    k, title = len(C), _title(term, sd)
    if term.positions is not None:
        return _by_place(title, f"distance of {of}", term.positions, C)
    rows, columns = np.triu_indices(k)
    steps = (columns - rows).astype(float)
    values = C[rows, columns]
    if term.kind.word != "us":  # one correlation for each distance
        steps = np.arange(k, dtype=float)
        values = np.array([_mean(np.diagonal(C, h)) for h in range(k)])
    there = np.isfinite(values)
    return ByDistance(title, f"steps between columns of {of}", steps[there], values[there])


def _by_place(title: str, x: str, positions: Any, C: Array) -> ByDistance:
    """Return exp(-distance/range) as a curve, with points at distances that occur."""
    D = positions.distances
    a, b = positions.nearest
    range_ = float(range_of_correlation(np.asarray(C[a, b]), float(D[a, b])))
    at = np.linspace(0.0, float(D.max()), 201)
    with np.errstate(divide="ignore", invalid="ignore"):
        fading = np.where(at > 0, np.exp(-at / range_), 1.0)
    rows, columns = np.triu_indices(len(C), 1)
    distance, first = np.unique(D[rows, columns].round(9), return_index=True)
    own = C[rows, columns][first]
    if len(distance) > _MOST_POINTS:
        distance, own = distance[:0], own[:0]
    title = f"{title}, range {range_:.3g}"
    return ByDistance(title, x, distance, own, (at, fading))


def _correlations(fit: Any, i: int) -> tuple[Array, Array]:
    """Return correlations, nan for columns without variance, and standard deviations."""
    term, cov = fit.design.terms[i], fit.random_cov[i]
    there = np.array([estimated(fit, i, j) for j in range(len(cov))])
    if there.sum() < 2:
        raise PlotError(
            f"the variances of {bare(term.name)} are estimated as zero, so that its columns have "
            "no correlations. Draw another term by term=, or leave this one out of the model."
        )
    sd = np.sqrt(np.diag(cov))
    with np.errstate(divide="ignore", invalid="ignore"):
        C = cov / np.outer(sd, sd)
    C[~there] = C[:, ~there] = np.nan
    C[there, there] = 1.0
    return C, sd


def _mean(values: Array) -> float:
    """Return the mean of those that are numbers, nan if there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _title(term: TermSpec, sd: Array) -> str:
    """Say the term and its standard deviations."""
    low, high = f"{sd.min():.3g}", f"{sd.max():.3g}"
    spread = f"sd {low}" if len(term.variances) == 1 or low == high else f"sd {low} to {high}"
    return f"{bare(term.text)},\n{spread}"


def _names_of_columns(term: TermSpec) -> tuple[str, list[str]]:
    """Return what the columns are, and each one's name within that."""
    factor = _one_factor(term)
    if factor is None:
        return bare(term.name), [bare(column) for column in term.columns]
    return factor, [_CELL.sub(r"\2", column) for column in term.columns]


def _one_factor(term: TermSpec) -> str | None:
    """Return the factor, or the positions, whose levels all columns are; None if there is none."""
    wholes = {match[1] if (match := _CELL.match(column)) else None for column in term.columns}
    whole = wholes.pop() if len(wholes) == 1 else None
    if whole is None:
        return None
    return bare(_PLACE.sub(r"\1", whole))


# ---------------------------------------------------------------- levels of known covariance


def of_levels(fit: Any, i: int) -> Source | None:
    """Return the known correlations of the levels of a term; None if they are independent."""
    term: TermSpec = fit.design.terms[i]
    if term.related is None or term.has_members:
        return None
    return Source(term.name, "matrix", None, lambda: _levels_matrix(fit.design.terms[i]))


def _levels_matrix(term: Any) -> Matrix:
    """Return A of the levels as correlations."""
    count = len(term.levels)
    if count > _MOST_LEVELS:
        raise PlotError(
            f"{bare(term.group)} has {count:,} levels, and their correlations are drawn up to "
            f"{_MOST_LEVELS:,}. Draw a part of the matrix itself, as plt.imshow(A[:500, :500])."
        )
    root = term.related.from_independent(np.eye(term.effects))
    A = root @ root.T
    sd = np.sqrt(np.diag(A))
    with np.errstate(divide="ignore", invalid="ignore"):
        C = np.where(np.outer(sd, sd) > 0, A / np.outer(sd, sd), np.nan)
    title = f"known correlations of {bare(term.group)}"
    return Matrix(title, bare(term.group), level_names(term), C)


# ---------------------------------------------------------------- residuals


def of_residuals(fit: Any) -> Source | None:
    """Return the correlations of residuals; None if they are independent."""
    structure = getattr(fit.design, "residual", None)
    if structure is None or structure.kind is None:
        return None
    return Source(
        "Residual",
        "lag",
        lambda observed: _residuals_by_distance(fit, observed),
        lambda: _residuals_matrix(fit),
    )


def _residuals_by_distance(fit: Any, observed: bool) -> ByDistance:
    """Return the correlation of two rows of a group by their distance, and what rows say of it."""
    structure, rows = fit.design.residual, fit.design.residual_rows
    pairs = pairs_within(rows.codes, rows.positions)
    reach = float(pairs.distance.max())
    points = np.unique(pairs.distance.round(9))
    curve = None
    if structure.kind.word == "car1":
        at = np.linspace(0.0, reach, 201)
        curve, points = (at, _between(structure, at)), points[:0]
    else:
        points = np.arange(round(reach) + 1.0)
    seen = None
    if observed:
        fewest = min(_FEWEST_PAIRS, len(pairs.distance))
        seen = mean_by_distance(pairs.distance, *residual_products(fit, pairs), fewest)
    part = structure.correlation
    x = "rows apart" if part.position is None else f"distance of {bare(part.position)}"
    if structure.kind.word == "cs":
        x = f"rows of one {bare(':'.join(part.group))} apart, in the order of the data"
    return ByDistance(
        _residual_title(structure), x, points, _between(structure, points), curve, seen
    )


def _residuals_matrix(fit: Any) -> Matrix:
    """Return the correlations of the rows of a group that has all positions."""
    structure, rows = fit.design.residual, fit.design.residual_rows
    if structure.kind.word == "cs":
        at = 1.0 + np.arange(structure.kind.size)
        of = f"row of a {bare(':'.join(structure.correlation.group))}"
    else:
        at, of = np.unique(rows.positions), bare(str(structure.correlation.position))
    if len(at) > _MOST_LEVELS:
        raise PlotError(
            f"the residuals have {len(at):,} different positions, and a matrix is drawn up to "
            f"{_MOST_LEVELS:,}. Pass kind='lag'."
        )
    values = _between(structure, np.abs(at[:, None] - at))
    return Matrix(_residual_title(structure), of, [f"{value:g}" for value in at], values)


def _between(structure: Any, distance: Array) -> Array:
    """Return the correlations at some distances, one at none."""
    r = structure.r_of(structure.z_of(structure.values))[0]
    return np.where(distance > 0, structure.kind.between(r, distance), 1.0)


def _residual_title(structure: Any) -> str:
    """Say the structure and rho."""
    return f"residuals: {bare(structure.correlation.text)},\nrho {structure.values[0]:.3g}"
