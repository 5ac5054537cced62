"""The map between theta and the relative covariance factor Lambda(theta).

Lambda is block diagonal. A *block* collects the random-effects terms that share a grouping factor;
for every level of that factor it repeats one lower-triangular *template* T, itself block diagonal
over the merged terms. theta holds the parameters of the terms' structures (see structures/), terms
in the order of the formula. Those of an unstructured term are the free entries of its template: the
columns of the lower triangle one after the other (Bates, Mächler, Bolker & Walker 2015, sec. 2.3).

The engine works in *standardized* templates: it whitens the columns of each term's design, so that
Z'WZ averages to the identity, and estimates T_std = R T, where R is the whitening factor. R is
lower triangular, so T_std is too, and theta_std is a linear function of theta. A covariate in other
units gives the same standardized problem; one measured from another origin gives it rotated.

A *coordinate* is an entry of a template for linear structures, a theta for others; derivatives are
taken in coordinates (see structures/derivatives.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.blas import solve
from mixedlm_ext.structures import LinearStructure, Structure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Covariance", "TermCovariance"]


@dataclass(frozen=True, eq=False)
class TermCovariance:
    """One term: its structure, its place among the blocks, and how its columns were whitened.

    Parameters
    ----------
    structure : Structure
    block : int
        The block that the term was merged into.
    first : int
        Its first column within that block.
    whitening : ndarray (k, k)
        R above, of the kind that the structure allows.
    """

    structure: Structure
    block: int
    first: int
    whitening: Array

    @property
    def k(self) -> int:
        """Columns of the term, i.e. the order of its template."""
        return self.structure.k

    @property
    def n_theta(self) -> int:
        """Number of covariance parameters."""
        return self.structure.n_theta

    @property
    def own(self) -> slice:
        """The term's columns within its block."""
        return slice(self.first, self.first + self.k)


class _Shaped(NamedTuple):
    """A term whose structure is not linear, and where its theta and its coordinates are."""

    term: TermCovariance
    part: slice
    coordinates: slice


class Covariance:
    """All terms together: where each theta stands in the templates of the blocks.

    Parameters
    ----------
    terms : sequence of TermCovariance
        In the order of the formula.
    block_sizes : sequence of int
        Columns a level of each block.

    Attributes
    ----------
    blocks, rows, columns : ndarray of int (coordinates,)
        Which entry of which block's template a coordinate is; row and column of the coordinates of
        shaped terms are no entries and hold -1 and -2.
    owners : ndarray of int (coordinates,)
        Which theta each of them is.
    of_block : list of ndarray of int
        The coordinates of each block that are entries.
    shaped : list of (TermCovariance, slice, slice)
        The terms whose structure is not linear, with their part of theta and of the coordinates.
    """

    def __init__(self, terms: Sequence[TermCovariance], block_sizes: Sequence[int]) -> None:
        self.terms = tuple(terms)
        self.block_sizes = tuple(block_sizes)
        self.shaped: list[_Shaped] = []
        none = np.zeros(0, np.intp)
        rows, columns, blocks, owners = [none], [none], [none], [none]
        for term, part, coordinates in zip(self.terms, self.slices, self.coordinate_slices):
            structure, n = term.structure, term.structure.n_coordinates
            if isinstance(structure, LinearStructure):
                r, c = structure.entries
                rows.append(r + term.first)
                columns.append(c + term.first)
                owners.append(structure.owners + part.start)
            else:
                self.shaped.append(_Shaped(term, part, coordinates))
                rows.append(np.full(n, -1))
                columns.append(np.full(n, -2))
                owners.append(np.arange(part.start, part.stop))
            blocks.append(np.full(n, term.block))
        self.rows = np.concatenate(rows)
        self.columns = np.concatenate(columns)
        self.blocks = np.concatenate(blocks)
        self.owners = np.concatenate(owners)
        self.of_block = [
            np.flatnonzero((self.blocks == i) & (self.rows >= 0))
            for i in range(len(self.block_sizes))
        ]

    @property
    def n_coordinates(self) -> int:
        """Number of coordinates: entries of the templates that theta determines, or theta."""
        return len(self.rows)

    @property
    def n_theta(self) -> int:
        """Length of theta."""
        return int(self.owners[-1]) + 1 if len(self.owners) else 0

    @property
    def tied(self) -> bool:
        """Whether some entries share one theta."""
        return self.n_coordinates > self.n_theta

    @property
    def free(self) -> bool:
        """Whether each entry of the templates is zero or a theta of its own."""
        return not (self.tied or self.shaped)

    def tie(self, derivatives: Array, axis: int = 0) -> Array:
        """Add up derivatives in tied entries: what they are in theta."""
        if not self.tied:
            return derivatives
        return np.asarray(np.add.reduceat(derivatives, self._first, axis=axis))

    @cached_property
    def _first(self) -> NDArray[np.intp]:
        """The first coordinate of each theta."""
        return np.flatnonzero(np.diff(self.owners, prepend=-1))

    @cached_property
    def slices(self) -> list[slice]:
        """The part of theta that belongs to each term."""
        stops = np.cumsum([term.n_theta for term in self.terms])
        return [slice(int(stop) - t.n_theta, int(stop)) for t, stop in zip(self.terms, stops)]

    @cached_property
    def coordinate_slices(self) -> list[slice]:
        """The part of the coordinates that belongs to each term."""
        counts = [term.structure.n_coordinates for term in self.terms]
        stops = np.cumsum(counts)
        return [slice(int(stop) - count, int(stop)) for stop, count in zip(stops, counts)]

    def start(self) -> Array:
        """Return the standardized start: T = I, each whitened column as variable as the noise."""
        return np.concatenate([np.zeros(0), *(term.structure.start() for term in self.terms)])

    def further_starts(self, theta: Array) -> list[Array]:
        """Return standardized starts, one term changed each, after a search that ended at theta."""
        out = []
        for term, part, _ in self.shaped:
            for own in term.structure.further_starts(theta[part]):
                other = theta.copy()
                other[part] = own
                out.append(other)
        return out

    def reflections(self, theta: Array) -> list[Array]:
        """Return theta with correlations of other signs, DΓD with D = ±1, term by term.

        Where a mean is left to the random columns, the signs of their correlations may be left
        open.
        """
        out = []
        for term, part in zip(self.terms, self.slices):
            for own in term.structure.reflections(theta[part]):
                other = theta.copy()
                other[part] = own
                out.append(other)
        return out

    @cached_property
    def domain(self) -> tuple[Array, Array]:
        """Lower and upper ends of theta."""
        ends = [term.structure.domain for term in self.terms]
        low, high = (np.concatenate([np.zeros(0), *(end[i] for end in ends)]) for i in range(2))
        return low, high

    @property
    def ends(self) -> tuple[Array, Array] | None:
        """The domain, if theta is not free to take any value."""
        return self.domain if self.shaped else None

    def scaled(self, theta: Array, factor: float) -> Array:
        """Return theta of random effects that are all `factor` times as large."""
        if not self.shaped:
            return factor * theta
        parts = zip(self.terms, self.slices)
        return np.concatenate([t.structure.scaled(theta[part], factor) for t, part in parts])

    def at_zero(self, theta: Array, near: float) -> Array:
        """Return theta with what is next to the boundary exactly on it."""
        parts = zip(self.terms, self.slices)
        own = (t.structure.at_zero(theta[part], near) for t, part in parts)
        return np.concatenate([np.zeros(0), *own])

    def templates(self, theta: Array) -> list[Array]:
        """Return the template of each block."""
        out = [np.zeros((k, k)) for k in self.block_sizes]
        for template, (_, rows, columns, owners) in zip(out, self._entries):
            template[rows, columns] = theta[owners]
        for term, part, _ in self.shaped:
            out[term.block][term.own, term.own] = term.structure.template(theta[part])
        return out

    def term_templates(self, theta: Array) -> list[Array]:
        """Return the template of each term, in the order of the formula."""
        parts = zip(self.terms, self.slices)
        return [term.structure.template(theta[part]) for term, part in parts]

    def free_entries(self, matrices: Sequence[Array]) -> Array:
        """Pick from one matrix per block the entries that are coordinates; 0 for shaped terms."""
        out = np.zeros(self.n_coordinates)
        for matrix, (index, rows, columns, _) in zip(matrices, self._entries):
            out[index] = matrix[rows, columns]
        return out

    @cached_property
    def _entries(self) -> list[tuple[Index, Index, Index, Index]]:
        """Of each block: its coordinates that are entries, rows and columns of these, their θ."""
        return [(at, self.rows[at], self.columns[at], self.owners[at]) for at in self.of_block]

    def theta_of(self, templates: Sequence[Array]) -> Array:
        """Return the theta of one template per block."""
        return np.concatenate(
            [t.structure.theta_of(templates[t.block][t.own, t.own]) for t in self.terms]
        )

    def canonical(self, theta: Array) -> Array:
        """Flip signs of template columns so that every diagonal entry is non-negative."""
        if not (theta[self._diagonal] < 0).any():
            return theta + 0.0
        sign = np.ones((len(self.block_sizes), max(self.block_sizes, default=1)))
        flip = (self.rows == self.columns) & (theta[self.owners] < 0)
        sign[self.blocks[flip], self.columns[flip]] = -1.0
        signs = np.where(self.rows >= 0, sign[self.blocks, self.columns], 1.0)
        return theta * signs[self._first] + 0.0

    @cached_property
    def _diagonal(self) -> Index:
        """The θ of the diagonal entries of the templates."""
        return self.owners[self.rows == self.columns]

    @cached_property
    def jacobian(self) -> Array:
        """The matrix J of theta_std = J theta."""
        out = np.zeros((self.n_theta, self.n_theta))
        for term, part in zip(self.terms, self.slices):
            out[part, part] = term.structure.standardizer(term.whitening)
        return out

    def jacobian_at(self, theta: Array) -> Array:
        """Return J, which is the same at every theta."""
        return self.jacobian

    def standardize(self, theta: Array) -> Array:
        """Return theta_std = J theta."""
        return self.jacobian @ theta

    def unstandardize(self, theta_std: Array) -> Array:
        """Return theta = J⁻¹ theta_std."""
        return solve(self.jacobian, theta_std)

    def singular_terms(self, theta_std: Array, tol: float = 1e-5) -> list[bool]:
        """Say of each term whether its covariance is at the boundary, relative to its scale."""
        parts = zip(self.terms, self.slices)
        return [term.structure.is_singular(theta_std[part], tol) for term, part in parts]
