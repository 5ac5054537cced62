"""The map between theta and the relative covariance factor Lambda(theta).

Lambda is block diagonal. A *block* collects the random-effects terms that share a grouping factor;
for every level of that factor it repeats one lower-triangular *template* T, itself block diagonal
over the merged terms. theta holds the free entries of the templates: terms in the order of the
formula, within a term the columns of the lower triangle one after the other (Bates, Mächler, Bolker
& Walker 2015, sec. 2.3).

The engine works in *standardized* templates: it whitens the columns of each term's design, so that
Z'WZ averages to the identity, and estimates T_std = R T, where R is the whitening factor. R is
lower triangular, so T_std is too, and theta_std is a linear function of theta. A covariate in other
units gives the same standardized problem; one measured from another origin gives it rotated.

Most entries of theta are one entry of a template. A term whose columns have one variance has the
template θI: all its diagonal entries are tied to one theta. Derivatives are taken in the entries;
`Covariance.tie` adds up those of tied ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError

Array = NDArray[np.float64]

__all__ = ["Covariance", "TermCovariance"]


@dataclass(frozen=True, eq=False)
class TermCovariance:
    """Which entries of one term's template are free.

    Parameters
    ----------
    k : int
        Columns of the term, i.e. the order of its template.
    structure : {"us", "diag", "iid"}
        Unstructured (full lower triangle), diagonal, or diagonal with one variance.
    block : int
        The block that the term was merged into.
    first : int
        Its first column within that block.
    whitening : ndarray (k, k)
        R above; diagonal for a diagonal structure, a multiple of I for one variance.
    """

    k: int
    structure: str
    block: int
    first: int
    whitening: Array

    @cached_property
    def entries(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the free entries within the term's own template."""
        if self.structure != "us":
            return np.arange(self.k), np.arange(self.k)
        columns, rows = np.triu_indices(self.k)
        return rows, columns

    @property
    def owners(self) -> NDArray[np.intp]:
        """Which of the term's own theta each of its entries is."""
        entries = np.arange(len(self.entries[0]))
        return np.zeros_like(entries) if self.structure == "iid" else entries

    @property
    def n_theta(self) -> int:
        """Number of covariance parameters."""
        return int(self.owners[-1]) + 1

    def theta_of(self, template: Array) -> Array:
        """Return the theta of a template; tied entries that differ count by their mean square."""
        values = template[self.entries]
        if self.structure != "iid":
            return values
        return np.sqrt((values**2).mean(keepdims=True))

    @cached_property
    def standardizer(self) -> Array:
        """The matrix J of theta_std = J theta, from column b of T_std = R T."""
        if self.structure == "iid":
            return self.whitening[:1, :1]
        rows, columns = self.entries
        same_column = columns[:, None] == columns[None, :]
        return np.where(same_column, self.whitening[np.ix_(rows, rows)], 0.0)


class Covariance:
    """All terms together: theta, templates, and the derivatives of Lambda's pattern.

    Parameters
    ----------
    terms : sequence of TermCovariance
        In the order of the formula.
    block_sizes : sequence of int
        Columns a level of each block.
    """

    def __init__(self, terms: Sequence[TermCovariance], block_sizes: Sequence[int]) -> None:
        self.terms = tuple(terms)
        self.block_sizes = tuple(block_sizes)
        rows, columns, blocks, owners = [], [], [], []
        for term, part in zip(self.terms, self.slices):
            r, c = term.entries
            rows.append(r + term.first)
            columns.append(c + term.first)
            blocks.append(np.full(len(r), term.block))
            owners.append(term.owners + part.start)
        self.rows = np.concatenate(rows)
        self.columns = np.concatenate(columns)
        self.blocks = np.concatenate(blocks)
        self.owners = np.concatenate(owners)
        self.of_block = [np.flatnonzero(self.blocks == i) for i in range(len(self.block_sizes))]

    @property
    def n_entries(self) -> int:
        """Number of entries of the templates that theta determines."""
        return len(self.rows)

    @property
    def n_theta(self) -> int:
        """Length of theta."""
        return int(self.owners[-1]) + 1

    @property
    def tied(self) -> bool:
        """Whether some entries share one theta."""
        return self.n_entries > self.n_theta

    def tie(self, derivatives: Array, axis: int = 0) -> Array:
        """Add up derivatives in tied entries: what they are in theta."""
        if not self.tied:
            return derivatives
        first = np.flatnonzero(np.diff(self.owners, prepend=-1))
        return np.asarray(np.add.reduceat(derivatives, first, axis=axis))

    @cached_property
    def slices(self) -> list[slice]:
        """The part of theta that belongs to each term."""
        stops = np.cumsum([term.n_theta for term in self.terms])
        return [slice(int(stop) - t.n_theta, int(stop)) for t, stop in zip(self.terms, stops)]

    @cached_property
    def entry_slices(self) -> list[slice]:
        """The part of the entries that belongs to each term."""
        counts = [len(term.owners) for term in self.terms]
        stops = np.cumsum(counts)
        return [slice(int(stop) - count, int(stop)) for stop, count in zip(stops, counts)]

    def check(self, theta: object) -> Array:
        """Return `theta` as a float vector of the right length, or say what is wrong with it."""
        vector = _as_numbers(theta)
        if vector is None:
            raise FitError(
                f"theta must hold numbers, not {type(theta).__name__}. Pass {self.n_theta} numbers."
            )
        if vector.shape != (self.n_theta,):
            raise FitError(
                f"theta has shape {vector.shape}; this model has {self.n_theta} covariance "
                f"parameters. Pass {self.n_theta} numbers, the lower triangles of the terms' "
                "relative covariance factors, column by column."
            )
        if not np.isfinite(vector).all():
            raise FitError("theta has values that are not finite. Pass finite numbers.")
        return vector

    def start(self) -> Array:
        """Return the standardized start: T = I, each whitened column as variable as the noise."""
        return self._of_owners((self.rows == self.columns).astype(float))

    def _of_owners(self, values: Array) -> Array:
        """Return values of the entries, the same where tied, for each theta."""
        return values[np.flatnonzero(np.diff(self.owners, prepend=-1))]

    def only(self, block: int) -> Covariance:
        """Return the covariance of the model that has only one of the blocks."""
        terms = [replace(term, block=0) for term in self.terms if term.block == block]
        return Covariance(terms, [self.block_sizes[block]])

    def templates(self, theta: Array) -> list[Array]:
        """Return the template of each block."""
        out = [np.zeros((k, k)) for k in self.block_sizes]
        for template, index in zip(out, self.of_block):
            template[self.rows[index], self.columns[index]] = theta[self.owners[index]]
        return out

    def term_templates(self, theta: Array) -> list[Array]:
        """Return the template of each term, in the order of the formula."""
        out = []
        for term, part in zip(self.terms, self.slices):
            template = np.zeros((term.k, term.k))
            template[term.entries] = theta[part][term.owners]
            out.append(template)
        return out

    def free_entries(self, matrices: Sequence[Array]) -> Array:
        """Pick from one matrix per block the entries that theta determines."""
        out = np.empty(self.n_entries)
        for matrix, index in zip(matrices, self.of_block):
            out[index] = matrix[self.rows[index], self.columns[index]]
        return out

    def theta_of(self, templates: Sequence[Array]) -> Array:
        """Return the theta of one template per block."""
        parts = []
        for term in self.terms:
            own = slice(term.first, term.first + term.k)
            parts.append(term.theta_of(templates[term.block][own, own]))
        return np.concatenate(parts)

    def gradient(self, matrices: Sequence[Array]) -> Array:
        """Return the gradient in theta from the derivatives in all entries of each template."""
        return self.tie(self.free_entries(matrices))

    def curvature(self, matrices: Sequence[Array]) -> Array:
        """Return C, (entries, entries), with C_(ab),(cd) = 2 [G_i]_ac δ_bd inside each block i."""
        out = np.zeros((self.n_entries, self.n_entries))
        for matrix, index in zip(matrices, self.of_block):
            rows, columns = self.rows[index], self.columns[index]
            same_column = columns[:, None] == columns[None, :]
            out[np.ix_(index, index)] = 2.0 * same_column * matrix[np.ix_(rows, rows)]
        return out

    def canonical(self, theta: Array) -> Array:
        """Flip signs of template columns so that every diagonal entry is non-negative."""
        sign = np.ones((len(self.block_sizes), max(self.block_sizes)))
        diagonal = self.rows == self.columns
        flip = diagonal & (theta[self.owners] < 0)
        sign[self.blocks[flip], self.columns[flip]] = -1.0
        return theta * self._of_owners(sign[self.blocks, self.columns]) + 0.0

    @cached_property
    def jacobian(self) -> Array:
        """The matrix J of theta_std = J theta."""
        out = np.zeros((self.n_theta, self.n_theta))
        for term, part in zip(self.terms, self.slices):
            out[part, part] = term.standardizer
        return out

    def standardize(self, theta: Array) -> Array:
        """Return theta_std = J theta."""
        return self.jacobian @ theta

    def unstandardize(self, theta_std: Array) -> Array:
        """Return theta = J⁻¹ theta_std."""
        return np.asarray(np.linalg.solve(self.jacobian, theta_std))

    def singular_terms(self, theta_std: Array, tol: float = 1e-5) -> list[bool]:
        """Say of each term whether its template has deficient rank, relative to its scale."""
        out = []
        for template in self.term_templates(theta_std):
            values = np.linalg.svd(template, compute_uv=False)
            out.append(bool(values[-1] <= tol * max(1.0, values[0])))
        return out


def _as_numbers(values: object) -> Array | None:
    """Read a vector of numbers from an array or column of any library; None if it holds others."""
    try:
        listed = values.to_list() if hasattr(values, "to_list") else values
        found = np.ma.asarray(listed) if np.ma.isMaskedArray(listed) else np.asarray(listed)
        if found.dtype.kind in "cmM" or found.dtype.names:
            return None
        numbers = found.astype(np.float64)
        return np.atleast_1d(np.ma.filled(numbers, np.nan))
    except Exception:  # each library has its own for what it cannot convert
        return None
