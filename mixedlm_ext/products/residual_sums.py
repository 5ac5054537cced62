"""Cross-products of rows in memory whose residuals have a structure: A(z) on one fixed pattern.

R⁻¹ = Σ_j c_j(z) B_j, so that A = Σ_j c_j A_j with A_j = [Z X y]'B_j[Z X y]: where the sum is short,
rows are touched once, and ∂A/∂z is the same sum with ∂c/∂z (see residual_short.py). Where
variances, or gaps in time, are nearly all different the sum is as long as R⁻¹ has elements (see
residual_elements.py); where that would be too long, A is formed from the rows at each z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.linalg.keys import distinct_rows
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.residual_cells import Cells, joined_levels
from mixedlm_ext.products.residual_elements import Elements, elements_of
from mixedlm_ext.products.residual_matrices import count_pairs
from mixedlm_ext.products.residual_parts import count_parts, split, symmetric_part
from mixedlm_ext.products.residual_short import ShortSums, Terms
from mixedlm_ext.products.roots import levels_of_roots
from mixedlm_ext.residual.structure import ResidualRows, ResidualStructure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["MOST_TERMS", "ResidualSums"]

MOST_TERMS = 300
"""Terms of the sum at most; beyond, rows are touched at each point."""
_MOST_NUMBERS = 30_000_000
"""Numbers that all terms together may hold."""


class ResidualSums(ShortSums):
    """The rows of a model with a residual structure, ready to be summed at any z.

    Parameters
    ----------
    layout : Layout
        Of the model with independent residuals.
    H : csr_array (n, q + p + 1)
        [Z X y] in this layout, multiplied by the roots of the weights; Z of the levels where those
        have a root.
    nodes : csr_array (n, levels)
        Which levels of all blocks, one after the other, each row has.
    structure : ResidualStructure
    rows : ResidualRows
    root_weights : ndarray (n,)
        √w.
    """

    of_rows = True

    def __init__(
        self,
        layout: Layout,
        H: sparse.csr_array,
        nodes: sparse.csr_array,
        structure: ResidualStructure,
        rows: ResidualRows,
        root_weights: Array,
    ) -> None:
        n = H.shape[0]
        correlated = structure.correlated(rows)
        classes, own = distinct_rows(rows.x)
        cells = Cells(
            layout.level_shapes, layout.p, joined_levels(layout, nodes, correlated.pieces)
        )
        super().__init__(
            layout,
            structure,
            n,
            correlated.counted,
            classes,
            np.bincount(own, minlength=len(classes)).astype(float),
            None,
            cells,
            2.0 * float(np.log(root_weights).sum()),
            count_pairs(rows.codes),
        )
        self._H, self._class, self._correlated = H, own, correlated
        self._rows = replace(rows, x=rows.x - self.center)
        self._root_weights = root_weights
        self._terms = self._short_sum()
        self._elements = None if self._terms is not None else self._every_element()

    def in_user_scale(self) -> ResidualSums:
        """Return the sums with standard deviations as users see them: `level` is always zero."""
        out = super().in_user_scale()
        if out is not self:
            out._rows = replace(self._rows, x=self._rows.x + self.center)
        return out

    @property
    def describes(self) -> str:
        """How the cross-products come about, in words."""
        if self._terms is not None:
            return super().describes
        if self._elements is not None:
            return f"elements of a precision matrix, {len(self._elements.which)} of them"
        return "from the rows at each point"

    def _numbers(self, z: Array) -> tuple[Array, list[Array]]:
        """Return the numbers and their derivatives in the way that is cheapest."""
        if self._terms is not None:
            return super()._numbers(z)
        return self._from_rows(z) if self._elements is None else self._from_elements(z)

    # --- the short sum ----------------------------------------------------------------------------

    def _short_sum(self) -> Terms | None:
        """Sum over the rows once for each term, if these are few."""
        count = sum(count_parts(piece, self._class) for piece in self._correlated.pieces)
        if count > MOST_TERMS or count * len(self._levels) > _MOST_NUMBERS:
            return None
        of_roots = count * len(self._roots.cells) <= _MOST_NUMBERS
        splits = [split(piece, self._class) for piece in self._correlated.pieces]
        levels, roots = self._levels, self._roots
        numbers = np.concatenate(
            [parts.numbers(self._H, levels.rows, levels.columns) for parts in splits]
        )
        if of_roots and not roots.same:
            numbers = np.array([roots.numbers(own) for own in numbers])
        which, one, two = (
            np.concatenate([getattr(parts, name) for parts in splits])
            for name in ("which", "one", "two")
        )
        return Terms(numbers, which, one, two, of_roots)

    # --- element by element -----------------------------------------------------------------------

    def _every_element(self) -> Elements | None:
        """Make what each element of R⁻¹ adds, if that is not too much."""
        cells = self._levels
        return elements_of(self._correlated.pieces, self._H, cells.rows, cells.columns)

    def _from_elements(self, z: Array) -> tuple[Array, list[Array]]:
        """Return the numbers and their derivatives from the elements."""
        assert self._elements is not None
        elements = self._elements
        r, slope = self.structure.r_of(z)
        c, by_r = self._correlated.coefficients(r)
        x = self._rows.x[elements.i] + self._rows.x[elements.j]
        variances = np.exp(-x @ self.structure.eta_of(z))
        own = c[elements.which] * variances
        changes = [by_r[elements.which] * variances * slope] * self.structure.n_rho
        changes += list((-x * own[:, None] / self._scales).T)
        both = elements.numbers(np.array([own, *changes]).T)
        return np.ascontiguousarray(both[:, 0]), list(np.ascontiguousarray(both[:, 1:].T))

    # --- from the rows ----------------------------------------------------------------------------

    def _from_rows(self, z: Array) -> tuple[Array, list[Array]]:
        """Return the numbers and their derivatives from all rows."""
        r, slope = self.structure.r_of(z)
        c, by_r = self._correlated.coefficients(r)
        sd = np.exp(self._rows.x @ self.structure.eta_of(z))
        H = sparse.csr_array(sparse.diags_array(1.0 / sd) @ self._H)
        sides = [(piece.L @ H, piece.R @ H) for piece in self._correlated.pieces]
        whole = self._inner(c, sides, sides)
        out = [slope * self._inner(by_r, sides, sides)] * self.structure.n_rho
        for x, scale in zip(self._rows.x.T, self._scales):
            xH = sparse.csr_array(sparse.diags_array(x) @ H)
            moved = [(piece.L @ xH, piece.R @ xH) for piece in self._correlated.pieces]
            out.append(-2.0 / scale * self._inner(c, moved, sides))
        return whole, out

    def _inner(self, c: Array, left: Sequence[Any], right: Sequence[Any]) -> Array:
        """Return the numbers of the symmetric part of H₁'C⁻¹H₂ from LH and RH of every piece."""
        out = np.zeros(len(self._levels))
        for piece, (L1, R1), (L2, R2) in zip(self._correlated.pieces, left, right, strict=True):
            weights = sparse.diags_array(c[piece.which])
            out += 0.5 * self._levels.take(symmetric_part(L1, weights @ R2))
            out += 0.5 * self._levels.take(symmetric_part(R1, weights @ L2))
        return out

    def _times(self, coefficients: Array) -> Array:
        """Return [Z X y] times coefficients of b, X and y, with the roots of the weights."""
        if not self._roots.same:
            q = len(coefficients) - self.layout.p - 1
            own = levels_of_roots(coefficients[:q], self.layout.shapes, self.layout.every_root)
            coefficients = np.concatenate([own, coefficients[q:]])
        return np.asarray(self._H @ coefficients)

    def residuals(self, coefficients: Array) -> Array:
        """Return y - Xβ - Zb of the rows from (-b, -β, 1), without weights."""
        return self._times(coefficients) / self._root_weights

    # --- working vectors of the average information -----------------------------------------------

    def working(self, z: Array, coefficients: Array) -> Array:
        """Return f_k'R⁻¹f_l of the working vectors f_k = (∂R/∂z_k)R⁻¹e.

        Parameters
        ----------
        z : ndarray
        coefficients : ndarray (q + p + 1,)
            e = H times this: conditional residuals.

        Notes
        -----
        With g = D⁻¹e, f = D h: h = -C(∂C⁻¹/∂r)g for the correlation, and h = xC⁻¹g-wise for a
        variance: h = C(x ∘ C⁻¹g) + x ∘ g.
        """
        r, slope = self.structure.r_of(z)
        sd = np.exp(self._rows.x @ self.structure.eta_of(z))
        g = self._times(coefficients) / sd
        correlated = self._correlated
        w = correlated.inverse_times(r, g)
        h, Ch = [], []
        if self.structure.n_rho:
            _, by_r = correlated.coefficients(r)
            moved = -slope * np.sum([piece.times(by_r, g) for piece in correlated.pieces], axis=0)
            h.append(correlated.times(r, moved))
            Ch.append(moved)
        for x, scale in zip(self._rows.x.T, self._scales):
            h.append((correlated.times(r, x * w) + x * g) / scale)
            Ch.append((x * w + correlated.inverse_times(r, x * g)) / scale)
        out = np.array(h).reshape(-1, self.n) @ np.array(Ch).reshape(-1, self.n).T
        return np.asarray(0.5 * (out + out.T))
