"""Denominator degrees of freedom of t and F tests of the fixed effects.

A method answers two questions about a hypothesis Lβ = 0: the degrees of freedom of each row's t
test, and the scale and degrees of freedom of the joint F test. `normal` and `residual` are here;
`satterthwaite` and `kenward-roger` have a module each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import DegreesOfFreedom, Fitted
from mixedlm_ext.inference.fixed.kenward_roger import KenwardRoger, check_pairs
from mixedlm_ext.inference.fixed.satterthwaite import Satterthwaite
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]

__all__ = [
    "METHODS",
    "check_method",
    "check_unrestricted",
    "check_usable",
    "degrees_of_freedom",
    "with_ddf",
]

METHODS = ("satterthwaite", "kenward-roger", "residual", "normal")
_VARIANT = "kenward-roger-full"


class _Constant:
    """The same degrees of freedom for every hypothesis."""

    def __init__(self, fit: Fit, name: str, df: float, note: str) -> None:
        self.name, self._fit, self._df, self._note = name, fit, df, note

    def cov(self) -> Array:
        """Return σ²(X'V⁻¹X)⁻¹."""
        return self._fit.sigma**2 * self._fit.unscaled_cov

    def t(self, L: Array) -> Array:
        """Return the constant for each row."""
        return np.full(len(L), self._df)

    def f(self, L: Array) -> tuple[float, float]:
        """Return no scaling and the constant."""
        return 1.0, self._df

    def note(self) -> str:
        """Return the remark for the summary."""
        return self._note

    def with_fit(self, fit: Fit) -> _Constant:
        """Return the method for the same fit without its rows."""
        return _Constant(fit, self.name, self._df, self._note)


def check_method(name: object) -> None:
    """Raise FitError unless `name` is a method."""
    more = f"{_VARIANT!r} is Kenward and Roger's method with variances estimated as zero counted."
    check_choice("ddf", name, METHODS, FitError, (_VARIANT,), more, quote=False)


def check_usable(problem: Problem, name: str) -> None:
    """Raise FitError before a fit if a method is not for such covariances or such a solver."""
    if name not in ("kenward-roger", _VARIANT):
        return
    check_pairs(problem)
    if problem.solver.name == "iterative":
        raise FitError(
            f"ddf={name!r} needs the covariances of all pairs of random effects, which the "
            "iterative solver does not have. Pass ddf='satterthwaite', or, with as many levels as "
            "this solver is for, ddf='normal' or 'residual'."
        )


def check_unrestricted(restrictions: Restrictions | None, problem: Problem, name: str) -> None:
    """Raise FitError before a fit if a method or solver knows no fixed and equal parameters."""
    if restrictions is None:
        return
    if problem.solver.name == "iterative":
        raise FitError(
            "the iterative solver knows no fixed and equal parameters, which fix= and equal= ask "
            "for. Pass solver='exact', if memory holds it, or leave them out."
        )
    if name == _VARIANT:
        raise FitError(
            f"{_VARIANT!r} counts variances estimated as zero, which are not told apart from those "
            "that fix= and equal= hold. Use ddf='kenward-roger'."
        )


def degrees_of_freedom(fit: Fit, name: str) -> DegreesOfFreedom:
    """Return the method called `name` for one fit.

    Parameters
    ----------
    fit : Fit
    name : {"satterthwaite", "kenward-roger", "kenward-roger-full", "residual", "normal"}

    Returns
    -------
    DegreesOfFreedom

    Raises
    ------
    FitError
        If there is no such method, or it cannot be used for this fit.
    """
    check_method(name)
    if name == "satterthwaite":
        return Satterthwaite(fit)
    check_usable(fit.problem, name)
    check_unrestricted(fit.restrictions, fit.problem, name)
    if name in ("kenward-roger", _VARIANT):
        return KenwardRoger(fit, keep_zeros=name == _VARIANT)
    if name == "residual":
        df = fit.problem.cp.n - fit.problem.cp.p
        note = "Degrees of freedom: observations less fixed effects."
        return _Constant(fit, name, float(df), note)
    note = "P-values and intervals of the fixed effects use the normal approximation."
    return _Constant(fit, name, np.inf, note)


def with_ddf(fitted: Fitted, ddf: str) -> Fitted:
    """Return the same fit with tests by another method of degrees of freedom.

    Parameters
    ----------
    ddf : {"satterthwaite", "kenward-roger", "kenward-roger-full", "residual", "normal"}

    Returns
    -------
    MixedLMResults
        Nothing is refitted, and this object is not changed.

    Notes
    -----
    The methods differ at a variance estimated as zero. "satterthwaite" holds it fixed there;
    "kenward-roger" leaves it out, as if its term were not in the model; "kenward-roger-full"
    counts it like any other, as R's pbkrtest does. In simulations of a crossed design with
    missing cells leaving it out kept tests at 5 % between 3.5 and 6.8 %, counting it between
    0.5 and 5 %. The last lines of `summary` say where this matters.

    Examples
    --------
    >>> import warnings
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.df_resid_inference.round(2).tolist()
    [17.0, 17.0]
    >>> result.with_ddf("normal").conf_int().round(3).loc["Days"].tolist()
    [7.438, 13.497]

    >>> data = datasets.dyestuff2.load_pandas().data
    >>> model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # the variance of Batch is zero
    ...     result = model.fit(ddf="kenward-roger")
    >>> result.df_resid_inference.round(2).tolist()
    [29.0]
    >>> result.with_ddf("kenward-roger-full").df_resid_inference.round(2).tolist()
    [5.0]
    """
    return Fitted.by(fitted.fit, degrees_of_freedom(fitted.fit, ddf), fitted.face)
