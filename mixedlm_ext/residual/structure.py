"""What the residuals of a model are like: a correlation, variances, and their parameters by name.

Var(e) = σ² W⁻¹,  W⁻¹ = D C(rho) D / weights,  log D = Σ_m η_m x_m:

- by strata, x_m tells whether a row is in stratum m, and exp η_m is its standard deviation over
  that of the first;
- "power(x)": x_m = log|x| and η_m the power; "exp(x)": x_m = x and η_m the rate.

A product of variances has the columns of both. A search moves z: that of rho (see kinds.py), and
η times the standard deviation of x over the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.residual.correlation import CorrelatedRows, correlated_rows
from mixedlm_ext.residual.kinds import CorrelationKind

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "CorrelationPart",
    "ResidualParameter",
    "ResidualRows",
    "ResidualStructure",
    "VariancePart",
]


@dataclass(frozen=True)
class ResidualParameter:
    """One parameter of the residuals.

    Attributes
    ----------
    name : str
        "rho", the name of a stratum, "power(x)" or "exp(x)".
    kind : {"cor", "ratio", "power", "rate"}
    low, high : float
        Ends of its range.
    """

    name: str
    kind: str
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, eq=False)
class CorrelationPart:
    """How rows of one group are correlated.

    Attributes
    ----------
    kind : CorrelationKind
    text : str
        As the user wrote it.
    group : tuple of str
        Python code of the grouping factors.
    position : str or None
        Python code of the position of a row.
    levels : Index
        The groups of the fit.
    """

    kind: CorrelationKind
    text: str
    group: tuple[str, ...]
    position: str | None
    levels: pd.Index


@dataclass(frozen=True, eq=False)
class VariancePart:
    """One factor of the residual standard deviations.

    Attributes
    ----------
    word : {"strata", "power", "exp"}
    text : str
        As the user wrote it.
    codes : tuple of str
        Python code of the factors, or of the covariate.
    levels : Index or None
        The strata.
    scales : tuple of float
        Standard deviations of its columns x_m over the rows.
    """

    word: str
    text: str
    codes: tuple[str, ...]
    levels: pd.Index | None
    scales: tuple[float, ...]

    @property
    def parameters(self) -> list[ResidualParameter]:
        """Ratios to the first stratum, or the power or the rate."""
        if self.levels is None:
            return [ResidualParameter(self.text, "power" if self.word == "power" else "rate")]
        return [ResidualParameter(name, "ratio", 0.0) for name in self.strata[1:]]

    @property
    def strata(self) -> list[str]:
        """Names of the strata."""
        levels = () if self.levels is None else self.levels
        return [
            ":".join(map(str, level)) if isinstance(level, tuple) else str(level)
            for level in levels
        ]


@dataclass(frozen=True, eq=False)
class ResidualRows:
    """What each row has to do with the structure.

    Attributes
    ----------
    x : ndarray (n, M)
        Columns of log D.
    codes : ndarray of intp (n,) or None
        Groups of correlated rows; -1 - i for a row i that is in none of the fit.
    positions : ndarray (n,) or None
    """

    x: Array
    codes: Index | None = None
    positions: Array | None = None

    def take(self, rows: Index | NDArray[np.bool_] | slice) -> ResidualRows:
        """Return some of the rows."""
        return ResidualRows(
            self.x[rows],
            None if self.codes is None else self.codes[rows],
            None if self.positions is None else self.positions[rows],
        )


@dataclass(frozen=True, eq=False)
class ResidualStructure:
    """The structure of a model, without its rows.

    Attributes
    ----------
    correlation : CorrelationPart or None
    variances : tuple of VariancePart
    values : ndarray (parameters,) or None
        Of a fit: rho, ratios, powers and rates, in the order of `parameters`.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> model = MixedLM.from_formula(
    ...     "Reaction ~ Days + (1 | Subject)", data, correlation="ar1(Days | Subject)"
    ... )
    >>> [parameter.name for parameter in model.design.spec.residual.parameters]
    ['rho']
    """

    correlation: CorrelationPart | None
    variances: tuple[VariancePart, ...] = ()
    values: Array | None = None

    @property
    def kind(self) -> CorrelationKind | None:
        """The kind of the correlation."""
        return None if self.correlation is None else self.correlation.kind

    @cached_property
    def parameters(self) -> tuple[ResidualParameter, ...]:
        """The correlation, then those of the variances."""
        out = []
        if self.kind is not None:
            out.append(ResidualParameter("rho", "cor", *self.kind.rho_range))
        for part in self.variances:
            out += part.parameters
        return tuple(out)

    @property
    def n_rho(self) -> int:
        """Parameters of the correlation."""
        return 0 if self.correlation is None else 1

    @property
    def text(self) -> str:
        """The structure in a few words."""
        parts = [] if self.correlation is None else [self.correlation.text]
        if self.variances:
            parts.append(" * ".join(part.text for part in self.variances))
        return ", variance by ".join(parts) if len(parts) > 1 else "".join(parts)

    @property
    def arguments(self) -> dict[str, str]:
        """What `MixedLM.from_formula` was given."""
        out = {} if self.correlation is None else {"correlation": self.correlation.text}
        if self.variances:
            out["variance"] = " * ".join(part.text for part in self.variances)
        return out

    def with_values(self, values: Array | None) -> ResidualStructure:
        """Return the structure with the parameters of a fit."""
        return replace(self, values=values)

    def correlated(self, rows: ResidualRows) -> CorrelatedRows:
        """Return the correlation of some rows."""
        return correlated_rows(self.kind, len(rows.x), rows.codes, rows.positions)

    # --- what a fit says --------------------------------------------------------------------------

    def value_of(self, parameter: ResidualParameter) -> float:
        """Return the value of a parameter in the fit."""
        assert self.values is not None
        return float(self.values[self.parameters.index(parameter)])

    def strata_ratios(self) -> list[tuple[str, float]]:
        """Return the standard deviations of all strata over that of the first, by name.

        Strata of several factors are combined; one without a name if there are none.
        """
        out = [("", 1.0)]
        for part in self.variances:
            if part.levels is None:
                continue
            own = [1.0, *(self.value_of(p) for p in part.parameters)]
            out = [
                (f"{name}:{stratum}" if name else stratum, ratio * r)
                for name, ratio in out
                for stratum, r in zip(part.strata, own)
            ]
        return out

    # --- from z to the parameters and back --------------------------------------------------------

    @property
    def _scales(self) -> Array:
        """Standard deviations of the columns of log D."""
        return np.array([scale for part in self.variances for scale in part.scales])

    @property
    def z_range(self) -> tuple[Array, Array]:
        """Ends of z."""
        low, high = np.full((2, len(self.parameters)), np.inf)
        low = -low
        if self.kind is not None:
            low[0], high[0] = self.kind.z_range
        return low, high

    @property
    def slopes_of_eta(self) -> Array:
        """∂η/∂z of the variances."""
        return 1.0 / self._scales

    @property
    def slopes_of_all(self) -> Array:
        """∂η/∂z of all parameters, z standing for the η of a correlation."""
        return np.concatenate([np.ones(self.n_rho), self.slopes_of_eta])

    def r_of(self, z: Array) -> tuple[float, float]:
        """Return r and its derivative in the first z; zeros without a correlation."""
        return (0.0, 0.0) if self.kind is None else self.kind.r_of(float(z[0]))

    def eta_of(self, z: Array) -> Array:
        """Return η."""
        return np.asarray(z[self.n_rho :] / self._scales)

    def values_of(self, z: Array) -> Array:
        """Return the parameters as users see them."""
        eta = self.eta_of(z)
        ratios = np.array([p.kind == "ratio" for p in self.parameters[self.n_rho :]], dtype=bool)
        own = np.where(ratios, np.exp(np.where(ratios, eta, 0.0)), eta)
        if self.kind is None:
            return own
        return np.concatenate([[self.kind.rho_of(self.r_of(z)[0])], own])

    def slopes(self, z: Array) -> Array:
        """Return the derivatives of the parameters, each in its own z."""
        values = self.values_of(z)
        out = [p.kind == "ratio" for p in self.parameters[self.n_rho :]]
        own = np.where(out, values[self.n_rho :], 1.0) / self._scales
        if self.kind is None:
            return np.asarray(own)
        r, slope = self.r_of(z)
        return np.concatenate([[self.kind.rho_slope(r) * slope], own])

    def z_of(self, values: Sequence[float] | Array) -> Array:
        """Return z of parameters as users see them."""
        given = np.asarray(values, dtype=float)
        ratios = np.array([p.kind == "ratio" for p in self.parameters[self.n_rho :]], dtype=bool)
        rest = given[self.n_rho :]
        eta = np.where(ratios, np.log(np.where(ratios, rest, 1.0)), rest)
        own = eta * self._scales
        if self.kind is None:
            return np.asarray(own)
        r = self.kind.r_of_rho(float(given[0]))
        return np.concatenate([[self.kind.z_of(r)], own])

    @property
    def neutral(self) -> Array:
        """The z of independent residuals of one variance."""
        return np.zeros(len(self.parameters))

    def at_ends(self, z: Array) -> list[str]:
        """Name the parameters at an end of their range."""
        low, high = self.z_range
        return [p.name for p, a, b, c in zip(self.parameters, low, z, high) if not a < b < c]
