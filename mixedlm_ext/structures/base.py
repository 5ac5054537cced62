"""What a covariance structure is: the map from the θ of one term to the covariance of its effects.

Γ = TT' (k, k) is the covariance of the effects of one level relative to σ². The engine needs T, the
derivatives of Γ, the curvature Σ_ac G_ac ∂²Γ_ac/∂θ_j∂θ_h that a gradient G = ∂d/∂Γ adds to the
Hessian, and the directions of a step. There are two kinds. In a *linear* structure each entry of T
is one θ (see linear.py); steps move whole templates, and d is even in the signs of their columns.
In a *shaped* one (see correlated.py) θ holds standard deviations and correlations, each with its
own range, and Γ is a smooth function of them.

Derivatives are taken in the *coordinates* of a term: the free entries of T for a linear structure,
θ itself for a shaped one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

__all__ = ["LEAST_SD", "MOST_SD", "Structure"]

LEAST_SD = 0.05
"""Smallest standard deviation to start from: at zero the criterion is stationary."""
MOST_SD = 1e6
"""Largest standard deviation to start from."""
_MOST_SHOWN = 4


class Structure(ABC):
    """The structure of the covariance of k effects.

    Parameters
    ----------
    k : int
        Columns of the term.
    name : str
        What `RandomTerm(structure=)` calls it.

    Attributes
    ----------
    word : str
        What the formula calls it.
    linear : bool
        Whether the entries of T are the θ.
    whitening : {"triangular", "columns", "common"}
        By what the columns may be divided without leaving the structure: any triangular matrix, a
        number for each column, or one number.
    correlated : bool
        Whether columns may be correlated.
    one_variance : bool
        Whether all columns have the same variance.
    least_columns : int
    ordered : bool
        Whether the order of the columns matters, so that one without rows keeps its place.
    stationary : bool
        Whether correlations depend on how many places two columns are apart, on nothing else.
    range_unit : float or None
        θ holds range/(range + unit) in place of a correlation.
    placed : bool
        Whether it needs to know where the columns lie (see positions.py).
    """

    linear: ClassVar[bool]
    word: ClassVar[str]
    whitening: str
    correlated: ClassVar[bool] = True
    one_variance: bool = False
    least_columns: ClassVar[int] = 1
    ordered: ClassVar[bool] = False
    stationary: ClassVar[bool] = False
    range_unit: float | None = None
    placed: ClassVar[bool] = False

    def __init__(self, k: int, name: str) -> None:
        self.k, self.name = k, name

    def of_size(self, k: int) -> Structure:
        """Return the same structure of another number of columns."""
        return type(self)(k, self.name)

    # --- the map ----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def n_theta(self) -> int:
        """Number of covariance parameters."""

    @property
    @abstractmethod
    def n_coordinates(self) -> int:
        """Number of the coordinates in which derivatives are taken."""

    @abstractmethod
    def template(self, theta: Array) -> Array:
        """Return the lower-triangular T (k, k)."""

    @abstractmethod
    def theta_of(self, template: Array) -> Array:
        """Return θ of a template; the nearest one of the structure if it has none."""

    @abstractmethod
    def nearest(self, Gamma: Array) -> Array:
        """Return θ to start from near a symmetric matrix that need not be a covariance."""

    @abstractmethod
    def gamma_derivatives(self, theta: Array) -> Array:
        """Return ∂Γ/∂θ_j, (n_theta, k, k)."""

    @abstractmethod
    def parameter_directions(self) -> Array:
        """Return what each parameter of Γ does to it, (n_theta, k, k), at a point like any other.

        For a linear structure these are the variances and covariances, and the point is of no
        account.
        """

    @abstractmethod
    def curvature(self, theta: Array, G: Array) -> Array:
        """Return Σ_ac G_ac ∂²Γ_ac/∂x_j∂x_h in the coordinates x."""

    @abstractmethod
    def standardizer(self, R: Array) -> Array:
        """Return J of θ_std = Jθ, where T_std = RT."""

    def place(self, columns: tuple[int, ...]) -> int | None:
        """Return where θ holds the deviation of a column or the correlation of two, if it does.

        A deviation of a linear structure has a θ of its own where its row of T has no other entry.
        """
        return None

    def contains(self, other: Structure) -> bool:
        """Say whether every covariance of another structure of as many columns is one of this."""
        return other.name == self.name

    @property
    def one_level(self) -> bool:
        """Whether the columns of a single level may tell all parameters."""
        return False

    # --- the domain -------------------------------------------------------------------------------

    @property
    @abstractmethod
    def domain(self) -> tuple[Array, Array]:
        """Lower and upper ends of θ."""

    @abstractmethod
    def start(self) -> Array:
        """Return θ of Γ = I."""

    @abstractmethod
    def scaled(self, theta: Array, factor: float) -> Array:
        """Return θ of factor² Γ."""

    @abstractmethod
    def is_singular(self, theta: Array, tol: float) -> bool:
        """Say whether Γ is at the boundary of the covariances of this structure."""

    @abstractmethod
    def at_zero(self, theta: Array, near: float) -> Array:
        """Return θ with what is next to the boundary exactly on it; `near` is relative."""

    def reflections(self, theta: Array) -> list[Array]:
        """Return other θ that explain the second moments as well where signs are left open."""
        return []

    def further_starts(self, theta: Array) -> list[Array]:
        """Return other θ to start from where a search that ended at `theta` may have gone wrong."""
        return []

    # --- steps ------------------------------------------------------------------------------------

    @abstractmethod
    def step_basis(self, theta: Array, metric: Array | None = None) -> Array:
        """Return the directions of a step (changes, d): scaled to what they move, no rotations.

        `metric` is Q'Q (k, k) if T is the template of columns ZQ (see criteria/alignment.py): what
        does not rotate is that of the columns Z, T'Q'QΔT symmetric.
        """

    @abstractmethod
    def step_gradient(self, theta: Array, by_template: Array, by_gamma: Array) -> Array:
        """Return the gradient in the changes from ∂d/∂T and ∂d/∂Γ, each (k, k)."""

    @abstractmethod
    def step_gradient_after(self, theta: Array, changes: Array, by_gamma: Array) -> Array:
        """Return the gradient in the changes after some changes, from ∂d/∂Γ (k, k) there."""

    @abstractmethod
    def step_chain(self, theta: Array) -> Array:
        """Return what the changes do to the coordinates of Γ, (changes, n_coordinates)."""

    @abstractmethod
    def step_curvature(self, theta: Array, G: Array) -> Array:
        """Return the curvature of Γ in the changes."""

    @abstractmethod
    def stepped(self, theta: Array, changes: Array) -> Array:
        """Return θ after the changes, inside the domain."""

    # --- words ------------------------------------------------------------------------------------

    @abstractmethod
    def text(self, left: str, group: str) -> str:
        """Return the term in formula language."""

    def variances(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Name the variances: by the columns, or all columns if they have one."""
        if not self.one_variance:
            return tuple(columns)
        if len(columns) > _MOST_SHOWN:
            return (f"{columns[0]} .. {columns[-1]}",)
        return (", ".join(columns),)

    @property
    def range_ends(self) -> tuple[float, float] | None:
        """Ranges below and above which nothing changes any more, where θ holds a range."""
        return None

    def pair_distance(self, pair: tuple[int, int]) -> float | None:
        """Return how far two columns are apart, where a range stands for their correlation."""
        return None

    def told(self, correlations: Array, pair: tuple[int, int]) -> Array:
        """Return the correlation of a pair of columns (...), for correlations (..., k, k).

        They are nan where a variance is zero; other pairs may have the same parameter then.
        """
        return np.asarray(correlations[..., pair[0], pair[1]])

    @abstractmethod
    def correlations(self, columns: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
        """Name the correlations that are parameters, each with a pair of columns that has it."""
