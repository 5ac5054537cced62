"""From a fit to its profile: which parameters, and one path for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.errors import FitError, check_choice, did_you_mean, warn_caller
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.parameters import (
    RESIDUAL_KINDS,
    NaturalParameters,
    Parameter,
    model_parameters,
    parameter_values,
)
from mixedlm_ext.inference.profile.path import ProfilePath, trace
from mixedlm_ext.inference.profile.points import Maximum, Refit
from mixedlm_ext.inference.profile.profile import Profile, check_level, cutoff
from mixedlm_ext.inference.profile.restricted_points import held_beside, maximum_of
from mixedlm_ext.linalg.triangular import lower_root
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]

__all__ = [
    "better_maximum",
    "choose_parameters",
    "profile",
    "profile_note",
    "refuse_unheld",
    "warn_of_better",
]

_GROUPS = {"theta": ("sd", "cor", "range", "sigma", *RESIDUAL_KINDS), "beta": ("beta",)}
"""Names that stand for several parameters."""
_SQUARED = {"sd": "var", "sigma": "sigma2"}
"""What the scale of variances makes of a kind of parameter."""
_SCALES = ("sd", "variance")


def profile(
    fit: Fit,
    which: str | Sequence[str] | None = None,
    alpha_max: float = 0.01,
    scale: str = "sd",
) -> Profile:
    """Profile the likelihood of parameters.

    Parameters
    ----------
    which : str or sequence of str, optional
        Names of parameters, such as "sd(Subject, Days)", "cor(Subject, Intercept, Days)",
        "sigma", or a fixed effect; "theta" for all standard deviations and correlations and
        sigma, "beta" for all fixed effects. Everything by default.
    alpha_max : float
        The profile reaches far enough for intervals of level 1 - alpha_max.
    scale : {"sd", "variance"}
        Standard deviations, or variances: "var(Subject, Days)", "var(Residual)". Limits of the
        one are the squares of those of the other.

    Returns
    -------
    Profile
        ``conf_int(alpha)``, ``zeta(name, value)``, ``value(name, zeta)``, ``density(name,
        value)``, ``to_frame()``.

    Raises
    ------
    FitError
        If there is no such parameter.

    Warns
    -----
    ConvergenceWarning
        If a better fit than this was met; ``profile.better_start`` is where.

    Notes
    -----
    At each point everything else is estimated again by maximum likelihood, also when the model
    was fitted by REML (the profile's ``note`` says so).

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit(reml=False)
    >>> profile = result.profile()
    >>> profile.conf_int().round(2)
                                0        1
    sd(Batch, Intercept)    12.20    84.06
    sigma                   38.23    67.66
    Intercept             1486.45  1568.55
    >>> round(float(profile.zeta("sigma", 60.0)), 3)
    1.251
    """
    check_level("alpha_max", alpha_max)
    check_choice("scale", scale, _SCALES, FitError)
    parameters = model_parameters(fit.design, fit.fixed_sigma is None)
    chosen = choose_parameters(parameters, which, scale, fit.restrictions)
    refuse_unheld(chosen, parameters, fit)
    top = maximum_of(fit)
    power = [2.0 if scale == "variance" and p.kind in _SQUARED else 1.0 for p in parameters]

    def describe(estimates: NaturalParameters) -> Array:
        return np.asarray(parameter_values(parameters, estimates) ** power)

    params = pd.Series(describe(top.estimates), index=[_name(p, scale) for p in parameters])
    paths: dict[str, ProfilePath] = {}
    better = better_maximum(fit, top)
    for p in chosen:
        name = _name(p, scale)
        kind = _SQUARED.get(p.kind, p.kind) if scale == "variance" else p.kind
        step = _first_step(p, fit, top.estimates)
        path, best = trace(
            held_beside(p, top, fit.restrictions),
            kind,
            params[name],
            top,
            describe,
            cutoff(alpha_max),
            step,
            _ends(p, fit),
        )
        paths[name] = path.with_own(parameters.index(p))
        if best is not None:
            better[f"the profile of {name}"] = best
    return Profile(
        params=params,
        objective=top.objective,
        scale=scale,
        alpha_max=alpha_max,
        note=profile_note(fit),
        better_start=warn_of_better(better, fit, top),
        paths=paths,
    )


def better_maximum(fit: Fit, top: Maximum) -> dict[str, Maximum | Refit]:
    """Return the maximum, by name, if it is better than a fit by maximum likelihood."""
    missed = not fit.reml and top.objective < fit.objective - 1e-5
    return {"the search for the maximum": top} if missed else {}


def profile_note(fit: Fit) -> str:
    """Say what is profiled."""
    if not fit.reml:
        return "Profile of the likelihood."
    return (
        "Profile of the likelihood. The model was fitted by REML, and again by ML for the profile, "
        "whose estimates are those by ML."
    )


def warn_of_better(better: Mapping[str, Maximum | Refit], fit: Fit, top: Maximum) -> Array | None:
    """Warn of better fits than the one profiled, by where they were met.

    Returns
    -------
    ndarray (m,) or None
        theta of the best, in the user's units.
    """
    if not better:
        return None
    name, best = min(better.items(), key=lambda item: item[1].objective)
    theta = _theta(best.estimates, fit.problem.covariance)
    reference = top.objective if fit.reml else fit.objective
    warn_caller(
        f"{name} met a criterion that is lower by {reference - best.objective:.3g}: the fit is not "
        f"at the global optimum. Fit again with start_params={np.array2string(theta)} (or "
        "profile.better_start).",
        ConvergenceWarning,
    )
    return theta


def _name(parameter: Parameter, scale: str) -> str:
    """Return the name on a scale."""
    return parameter.name if scale == "sd" else parameter.variance_name


def choose_parameters(
    parameters: Sequence[Parameter],
    which: str | Sequence[str] | None,
    scale: str,
    restrictions: Restrictions | None = None,
) -> list[Parameter]:
    """Return the parameters that `which` names, in the order of the model."""
    given = frozenset() if restrictions is None else restrictions.fixed
    every, parameters = parameters, [p for p in parameters if p.name not in given]
    if which is None:
        return list(parameters)
    wanted = list(which) if np.iterable(which) and not isinstance(which, str) else [which]
    names = [_name(p, scale) for p in parameters]
    for name in wanted:
        if name in {_name(p, scale) for p in every if p.name in given}:
            raise FitError(f"{name!r} is fixed, so it has no profile. Leave it out of fix=.")
        if not isinstance(name, str) or (name not in names and name not in _GROUPS):
            near = did_you_mean(str(name), [*names, *_GROUPS])
            raise FitError(
                f"there is no parameter {name!r}.{near} Use 'theta', 'beta', or some of "
                f"{', '.join(repr(n) for n in names)}."
            )
    kinds = {kind for name in wanted if name not in names for kind in _GROUPS[name]}
    return [p for p, name in zip(parameters, names) if name in wanted or p.kind in kinds]


def refuse_unheld(chosen: Sequence[Parameter], every: Sequence[Parameter], fit: Fit) -> None:
    """Refuse correlations of a structure that are functions of several of its parameters."""
    terms = fit.problem.covariance.terms

    def is_unheld(p: Parameter) -> bool:
        structure = terms[p.term].structure if p.kind in ("cor", "range") else None
        return structure is not None and not structure.linear and structure.place(p.columns) is None

    unheld = [p.name for p in chosen if is_unheld(p)]
    if unheld:
        others = [p.name for p in every if not is_unheld(p)]
        raise FitError(
            f"no profile is there of {', '.join(unheld)}: the fit cannot hold a correlation at a "
            f"lag beyond the first.\nUse bootstrap(), or profile the others, which={others}."
        )


def _first_step(parameter: Parameter, fit: Fit, estimates: NaturalParameters) -> float:
    """Guess how far, in the working coordinate, ζ changes by a few tenths."""
    if parameter.kind in ("cor", "range", "rho"):
        return 0.2
    if parameter.kind in RESIDUAL_KINDS:
        return _residual_step(parameter, fit)
    if parameter.kind == "sigma":
        return 0.3 / float(np.sqrt(fit.problem.cp.n))
    j = parameter.columns[0]
    if parameter.kind == "beta":
        return 0.4 * fit.sigma * float(np.sqrt(fit.unscaled_cov[j, j]))
    sd = float(np.sqrt(estimates.random_cov[parameter.term][j, j]))
    unit = float(fit.problem.cp.layout.places[parameter.term].lengths[j])
    return max(0.15 * sd, 0.02 * estimates.sigma / unit)


def _residual_step(parameter: Parameter, fit: Fit) -> float:
    """Guess a step of a log ratio, a power or a rate: some tenths in z, measured for the rows."""
    structure = fit.design.residual
    assert structure is not None
    k = parameter.columns[0]
    scale = float(structure.slopes_of_eta[k - structure.n_rho])
    return 0.3 * scale / float(np.sqrt(fit.problem.cp.n / 10.0))


def _ends(parameter: Parameter, fit: Fit) -> tuple[float, float] | None:
    """Return the ends of a structure's correlation or range, in the working coordinate."""
    if parameter.kind == "rho":
        own = fit.design.residual
        assert own is not None
        rho = own.parameters[parameter.columns[0]]
        return float(np.arcsin(rho.low)), float(np.arcsin(rho.high))
    if parameter.kind not in ("cor", "range"):
        return None
    structure = fit.problem.covariance.terms[parameter.term].structure
    if structure.range_ends is not None:
        shortest, longest = np.log(structure.range_ends)
        return float(shortest), float(longest)
    place = structure.place(parameter.columns)
    if place is None:
        return None
    low, high = (float(np.arcsin(end[place])) for end in structure.domain)
    return low, high


def _theta(estimates: NaturalParameters, covariance: Covariance) -> Array:
    """Return theta, in the user's units, of the covariance matrices."""
    parts = []
    for cov, term in zip(estimates.random_cov, covariance.terms):
        values, vectors = np.linalg.eigh(cov / estimates.sigma**2)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        parts.append(term.structure.theta_of(lower_root(root)))
    return np.concatenate([*parts, estimates.residual])
