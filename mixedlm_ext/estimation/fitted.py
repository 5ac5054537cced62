"""A fit and how it is tested: what inference, prediction, diagnostics and reports read of one.

Nothing below results.py knows what users hold in their hands. Where a user's function wants that,
as the statistic of a bootstrap does, `Fitted.result` asks the face for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.estimation.fit import Fit

Array = NDArray[np.float64]
Method = TypeVar("Method", bound="DegreesOfFreedom")

__all__ = ["PLAIN", "Clustered", "DegreesOfFreedom", "Face", "Fitted"]


class DegreesOfFreedom(Protocol):
    """A method of tests and intervals of the fixed effects, for one fit."""

    name: str
    """As `fit(ddf=...)` takes it."""

    def cov(self) -> Array:
        """Return the covariance matrix of the fixed effects, (p, p)."""

    def t(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L (r, p), shape (r,)."""

    def f(self, L: Array) -> tuple[float, float]:
        """Return scale and degrees of freedom of the joint F test of L (r, p), of rank r."""

    def note(self) -> str:
        """Return one sentence for the summary."""

    def with_fit(self: Method, fit: Fit) -> Method:
        """Return the method for the same fit without its rows; what it computed is kept."""


@dataclass(frozen=True, eq=False)
class Clustered:
    """How a covariance robust to dependence within clusters was asked for."""

    groups: Any
    kind: str


def _itself(fitted: Fitted) -> Fitted:
    """Return the record: nobody has put a face on it."""
    return fitted


@dataclass(frozen=True)
class Face:
    """What users are shown of a fit; below results.py it is passed on and not looked into.

    Attributes
    ----------
    present : callable
        From a `Fitted` to what users see of it; by default the record itself.
    model : str
        What the model is called.
    labelled : bool
        Whether values carry pandas' labels; they are plain arrays for a model made from arrays.
    has_constant : bool, optional
        Whether X holds a constant, if a user has said so.
    """

    present: Callable[[Fitted], Any] = _itself
    model: str = "MixedLM"
    labelled: bool = True
    has_constant: bool | None = None


PLAIN = Face()
"""No face: users of the functions below see the records themselves."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit, the method of its tests, and the names and labels that users see.

    Attributes
    ----------
    fit : Fit
    method : DegreesOfFreedom
    face : Face
    clustered : Clustered or None
        Set if `method` is a cluster-robust one.
    x_names : tuple of str
        Names of the fixed effects; those of the design by default.
    constant : int or None
        The column of X that is constant, where it is known.
    use_t : bool
        Student's t and F, or the normal distribution and chi-squared.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> fitted = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit().fitted
    >>> fitted.beta.round(1), fitted.method.name
    (array([1527.5]), 'satterthwaite')
    """

    fit: Fit
    method: DegreesOfFreedom
    face: Face = PLAIN
    clustered: Clustered | None = None
    x_names: tuple[str, ...] = ()
    constant: int | None = None
    use_t: bool = True

    def __repr__(self) -> str:
        return f"<Fitted: {self.fit!r}, tests by {self.method.name}>"

    @classmethod
    def by(
        cls,
        fit: Fit,
        method: DegreesOfFreedom,
        face: Face = PLAIN,
        clustered: Clustered | None = None,
    ) -> Fitted:
        """Return a fit tested by a method, with the names of its design."""
        return cls(fit, method, face, clustered, fit.design.x_names, None, method.name != "normal")

    @property
    def design(self) -> Design:
        """The design, with or without its rows."""
        return self.fit.design

    @property
    def beta(self) -> Array:
        """The fixed effects."""
        return self.fit.beta

    @property
    def n(self) -> int:
        """The number of rows of the fit, also when they were removed."""
        return self.fit.n

    @property
    def llf(self) -> float:
        """Log-likelihood; restricted log-likelihood under REML."""
        return -0.5 * self.fit.objective

    @property
    def n_parameters(self) -> int:
        """Fixed effects, theta, and sigma unless it was fixed."""
        return self.fit.n_parameters

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return -2.0 * self.llf + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Schwarz's criterion."""
        return -2.0 * self.llf + float(np.log(self.n)) * self.n_parameters

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of each grouping factor, those without rows of a known matrix too."""
        out: dict[str, int] = {}
        for term in self.design.terms:
            out[term.group] = max(len(term.levels), out.get(term.group, 0))
        return out

    def rows(self, what: str) -> Design:
        """Return the design with its rows, or say that they were removed, and `what` with them.

        Raises
        ------
        RowsRemovedError
        """
        require_rows(self.design, what)
        return self.design

    def with_rows_read(self) -> Fitted:
        """Return the same with the rows of its source in memory, if they are not too many."""
        elsewhere = self.design.rows.elsewhere
        design = None if elsewhere is None else elsewhere.gathered()
        return self if design is None else self.with_design(design)

    def by_rows(self, what: str, function: Callable[[Fit], Array]) -> Any:
        """Return what a function makes of each row, labelled; rows in batches are read for it.

        Parameters
        ----------
        what : str
            As for `rows`.
        function : callable
            From the fit to an array (n,), in which no row depends on another.

        Returns
        -------
        Series or ndarray (n,)

        Raises
        ------
        RowsRemovedError
        """
        elsewhere = self.design.rows.elsewhere
        if elsewhere is None or elsewhere.passes is None:
            design = self.rows(what)
            return self.labelled(function(self.fit), design.index)
        values, labels = [], []
        for design in elsewhere.passes.designs():
            values.append(function(self.fit.with_design(design)))
            labels.append(np.asarray(design.index))
        out = pd.Series(np.concatenate(values), index=pd.Index(np.concatenate(labels)))
        full = elsewhere.passes.full_index
        return out if full is None else out.reindex(full)

    def with_design(self, design: Design) -> Fitted:
        """Return the same without its rows; this record keeps them."""
        fit = self.fit.with_design(design)
        return replace(self, fit=fit, method=self.method.with_fit(fit))

    def labelled(self, values: Array, index: pd.Index, always: bool = False) -> Any:
        """Attach the index, unless the model was made from arrays.

        Values for the rows of the fit are aligned with all rows of the data where that was asked
        for (``missing="exclude"``).
        """
        if index is self.design.index:
            values, index = self.design.aligned(values)
        return pd.Series(values, index=index) if always or self.face.labelled else values

    def result(self) -> Any:
        """Return what users see of this fit."""
        return self.face.present(self)
