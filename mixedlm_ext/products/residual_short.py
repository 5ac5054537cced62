"""A(z) = Σ_j c_j(z) A_j: cross-products of rows whose residuals have a structure, as a short sum.

There is an A_j = [Z X y]'B_j[Z X y] for each coefficient of C⁻¹ (see residual/counted.py) and each
pair of classes of rows that have the same variance: with standard deviations exp(x'η) of the
classes s and t, c_j is the coefficient times exp(-(x_s + x_t)'η). All else that a criterion asks
for, log|W| among it, needs how many rows a class has and how often a coefficient occurs.

The standard deviations are taken relative to their geometric mean over the rows, so that σ means
much the same whatever the parameters are: `level` says what that is in the user's scale.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.residual_cells import Cells, CellsOfRoots
from mixedlm_ext.residual.counted import Counted
from mixedlm_ext.residual.structure import ResidualStructure

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Sums = TypeVar("Sums", bound="ShortSums")

__all__ = ["ResidualProducts", "ShortSums", "Terms"]


@dataclass(frozen=True, eq=False)
class ResidualProducts:
    """The cross-products at one z and their derivatives.

    Attributes
    ----------
    cp : CrossProducts
    derivatives : list of CrossProducts
        ∂A/∂z_k, with ∂log|W|/∂z_k in the place of log|W|.
    """

    cp: CrossProducts
    derivatives: list[CrossProducts]


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of a short sum.

    Attributes
    ----------
    numbers : ndarray (J, numbers)
        Of each A_j.
    which, one, two : ndarray of intp (J,)
        Its coefficient, and the classes of both sides.
    of_roots : bool
        Whether the numbers are those of effects already, or of levels.
    """

    numbers: Array
    which: Index
    one: Index
    two: Index
    of_roots: bool = True


class ShortSums:
    """What gives the cross-products at any z.

    Parameters
    ----------
    layout : Layout
        Of the model with independent residuals.
    structure : ResidualStructure
    n : int
        Rows.
    counted : Counted
        How often the coefficients of C⁻¹ occur.
    classes : ndarray (S, M)
        log D of the rows of each class is this times η.
    rows : ndarray (S,)
        How many rows that are.
    terms : Terms or None
        None if the sum is not short: `_numbers` finds the numbers in another way then.
    cells : Cells
        Where the numbers of levels stand.
    logdet_weights : float
    pairs : int
        How many pairs of rows have correlated residuals, each row with itself among them.
    """

    of_rows = False
    """Whether the rows are at hand."""

    def __init__(
        self,
        layout: Layout,
        structure: ResidualStructure,
        n: int,
        counted: Counted,
        classes: Array,
        rows: Array,
        terms: Terms | None,
        cells: Cells,
        logdet_weights: float,
        pairs: int,
    ) -> None:
        self.layout, self.structure, self.n, self.pairs = layout, structure, n, pairs
        self._counted, self._logdet_weights = counted, logdet_weights
        self.center = rows @ classes / n if n else np.zeros(classes.shape[1])
        self._classes = classes - self.center
        self._total = rows @ self._classes
        self._terms, self._levels = terms, cells
        self._roots = CellsOfRoots(cells, layout)

    def in_user_scale(self: Sums) -> Sums:
        """Return the sums with standard deviations as users see them: `level` is always zero."""
        if not self.center.any():
            return self
        out = copy.copy(self)
        out._classes = self._classes + self.center
        out._total = self._total + self.n * self.center
        out.center = np.zeros_like(self.center)
        return out

    @property
    def describes(self) -> str:
        """How the cross-products come about, in words."""
        assert self._terms is not None
        return f"a sum of {len(self._terms.which)} matrices"

    def level(self, z: Array) -> float:
        """Return the log of what the standard deviations are relative to, in the user's scale."""
        return float(self.center @ self.structure.eta_of(z))

    @property
    def level_slopes(self) -> Array:
        """∂level/∂z, (K,)."""
        slopes = self.structure.slopes_of_eta * self.center
        return np.concatenate([np.zeros(self.structure.n_rho), slopes])

    def at(self, z: Array) -> ResidualProducts:
        """Return the cross-products at z and their derivatives."""
        numbers, by_z = self._numbers(z)
        logdet, slopes = self._logdet(z)
        if self._terms is None or not self._terms.of_roots:
            numbers, by_z = self._roots.numbers(numbers), [self._roots.numbers(own) for own in by_z]
        cells, layout = self._roots.cells, self.layout
        cp = cells.products(layout, numbers, self.n, logdet)
        derivatives = [
            cells.products(layout, own, self.n, float(slope)) for own, slope in zip(by_z, slopes)
        ]
        return ResidualProducts(cp, derivatives)

    def _numbers(self, z: Array) -> tuple[Array, list[Array]]:
        """Return the numbers and their derivatives."""
        assert self._terms is not None
        both = np.vstack(self._coefficients(z)) @ self._terms.numbers
        return both[0], list(both[1:])

    def _coefficients(self, z: Array) -> tuple[Array, Array]:
        """Return c (J,) and ∂c/∂z (K, J)."""
        assert self._terms is not None
        terms = self._terms
        r, slope = self.structure.r_of(z)
        c, by_r = self._counted.coefficients(r)
        x = self._classes[terms.one] + self._classes[terms.two]  # log sd of both sides
        variances = np.exp(-x @ self.structure.eta_of(z))
        own = c[terms.which] * variances
        changes = [by_r[terms.which] * variances * slope] * self.structure.n_rho
        changes += list((-x * own[:, None] / self._scales).T)
        return own, np.array(changes).reshape(-1, len(own))

    def _logdet(self, z: Array) -> tuple[float, Array]:
        """Return log|W| and its derivatives."""
        r, slope = self.structure.r_of(z)
        value, by_r = self._counted.logdet(r)
        eta = self.structure.eta_of(z)
        own = -2.0 * self._total / self._scales
        logdet = self._logdet_weights - value - 2.0 * float(self._total @ eta)
        return logdet, np.concatenate([[-by_r * slope] * self.structure.n_rho, own])

    @property
    def _scales(self) -> Array:
        """∂z/∂η."""
        return np.array([s for part in self.structure.variances for s in part.scales])

    def working(self, z: Array, coefficients: Array) -> Array | None:
        """Return f_k'R⁻¹f_l of the working vectors f_k = (∂R/∂z_k)R⁻¹e, if that is a short sum.

        Parameters
        ----------
        z : ndarray
        coefficients : ndarray (q + p + 1,)
            e = [Z X y] times this: conditional residuals.

        Notes
        -----
        f_k'R⁻¹f_l = e'W'_k R W'_l e with W' = ∂W/∂z. Without correlations W is diagonal, and that
        is the sum over the classes of c'_k c'_l/c; where rows of a group are all alike and have one
        variance, see `Sizes.squares`. Rows that follow one another are joined all of them.
        """
        terms, structure = self._terms, self.structure
        if terms is None or not terms.of_roots or (structure.n_rho and structure.variances):
            return None
        c, changes = self._coefficients(z)
        if not structure.n_rho:
            return np.asarray((changes / c * self._forms(coefficients)) @ changes.T)
        r, slope = structure.r_of(z)
        squares = self._counted.squares(r)
        if squares is None:
            return None
        own = squares[terms.which] @ self._forms(coefficients)
        return np.array([[slope**2 * float(own)]])

    def _forms(self, coefficients: Array) -> Array:
        """Return e'B_je for each term, (J,)."""
        assert self._terms is not None
        return np.asarray(self._terms.numbers @ self._roots.cells.products_of(coefficients))
