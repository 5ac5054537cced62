"""The parameters of a fit by flat names: "sd(Subject, Days)", "sigma", fixed effects and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.estimation.varcorr import correlations
from mixedlm_ext.residual.structure import ResidualParameter
from mixedlm_ext.structures import Structure
from mixedlm_ext.structures.positions import range_of_correlation

Array = NDArray[np.float64]

__all__ = [
    "RESIDUAL_KINDS",
    "NaturalParameters",
    "Parameter",
    "model_parameters",
    "parameter_values",
]

RESIDUAL_KINDS = ("rho", "ratio", "power", "rate")
"""Kinds of parameters of a residual structure."""


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes
    ----------
    name : str
        "sd(Subject, Days)", "cor(Subject, Intercept, Days)", "cor(Subject, rho)",
        "range(Subject)", "sigma", or that of a fixed effect.
    kind : {"sd", "cor", "range", "sigma", "beta", "rho", "ratio", "power", "rate"}
        The last four are of the residuals.
    term : int
        The random-effects term, in the order of the formula.
    columns : tuple of int
        One column of that term, or two for a correlation or a range; for a fixed effect its column
        of X; for a parameter of the residuals its place among these.
    distance : float or None
        Of the two columns of a range.
    structure : Structure or None
        Of the term of a correlation or a range.
    """

    name: str
    kind: str
    term: int = -1
    columns: tuple[int, ...] = ()
    distance: float | None = None
    structure: Structure | None = field(default=None, compare=False, repr=False)

    def told(self, correlations: Array) -> Array:
        """Return the correlation of the two columns from those of the term."""
        if self.structure is None:
            return np.asarray(correlations[self.columns])
        return self.structure.told(correlations, (self.columns[0], self.columns[1]))

    @property
    def variance_name(self) -> str:
        """The name on the scale of variances."""
        if self.kind == "sigma":
            return "var(Residual)"
        return "var" + self.name.removeprefix("sd") if self.kind == "sd" else self.name


@dataclass(frozen=True, eq=False)
class NaturalParameters:
    """Values for everything that a model estimates, in the units of the user.

    Attributes
    ----------
    random_cov : list of ndarray (k, k)
        Covariance matrix of each term's random effects.
    sigma : float
    beta : ndarray (p,)
    residual : ndarray
        Parameters of a residual structure, as users see them.
    """

    random_cov: list[Array]
    sigma: float
    beta: Array
    residual: Array = field(default_factory=lambda: np.zeros(0))


def model_parameters(design: Design, sigma: bool = True) -> tuple[Parameter, ...]:
    """List the parameters of a model.

    Parameters
    ----------
    design : Design
    sigma : bool
        Whether the residual standard deviation is one of them.

    Returns
    -------
    tuple of Parameter
        Term by term the standard deviations, then correlations or ranges; sigma; parameters of the
        residuals; the fixed effects. A fixed effect that is named like one of the others is called
        "beta(name)".
    """
    out = []
    for t, term in enumerate(design.terms):
        out += [
            Parameter(f"sd({term.name}, {name})", "sd", t, (i,))
            for i, name in enumerate(term.variances)
        ]
        for name, pair in term.correlations:
            distance = term.kind.pair_distance(pair)
            if distance is None:
                named = f"cor({term.name}, {name})", "cor"
            else:
                named = f"range({term.name})", "range"
            out.append(Parameter(*named, t, pair, distance, term.kind))
    if sigma:
        out.append(Parameter("sigma", "sigma"))
    if design.residual is not None:
        out += [
            Parameter(_of_residuals(p), "rho" if p.kind == "cor" else p.kind, columns=(k,))
            for k, p in enumerate(design.residual.parameters)
        ]
    taken = {name for p in out for name in (p.name, p.variance_name)}
    for i, x in enumerate(design.x_names):
        out.append(Parameter(f"beta({x})" if x in taken else x, "beta", columns=(i,)))
    return tuple(out)


def _of_residuals(parameter: ResidualParameter) -> str:
    """Name a parameter of the residuals: "cor(Residual, rho)", "ratio(Residual, Male)"."""
    if parameter.kind in ("cor", "ratio"):
        return f"{parameter.kind}(Residual, {parameter.name})"
    return parameter.name


def parameter_values(parameters: Sequence[Parameter], estimates: NaturalParameters) -> Array:
    """Return the values of the parameters; a correlation with a variance of zero is nan."""
    corr = [correlations(cov) for cov in estimates.random_cov]
    out = np.empty(len(parameters))
    for n, p in enumerate(parameters):
        if p.kind == "sd":
            out[n] = np.sqrt(estimates.random_cov[p.term][p.columns[0], p.columns[0]])
        elif p.kind == "cor":
            out[n] = p.told(corr[p.term])
        elif p.kind in RESIDUAL_KINDS:
            out[n] = estimates.residual[p.columns[0]]
        elif p.distance is not None:
            out[n] = range_of_correlation(p.told(corr[p.term]), p.distance)
        else:
            out[n] = estimates.sigma if p.kind == "sigma" else estimates.beta[p.columns[0]]
    return out
