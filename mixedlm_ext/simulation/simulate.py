"""Responses drawn from a model: y = Xβ + offset + Zb + e, b ~ N(0, Σ), e ~ N(0, σ²W⁻¹)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.design.records import effects_of_rows
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError, did_you_mean, shown
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.products.noise import Noise, noise_of
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.given_theta import read_theta

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "Parameters",
    "RandomPart",
    "Simulator",
    "check_count",
    "design_simulator",
    "draw",
    "fit_parameters",
    "given_parameters",
    "seed_text",
    "simulate",
    "spawn_seeds",
    "stated",
]


@dataclass(frozen=True, eq=False)
class Parameters:
    """What a response is drawn with.

    Attributes
    ----------
    beta : ndarray (p,)
    roots : tuple of ndarray (k, k)
        For each term a square root of the covariance of its random effects.
    sigma : float
    """

    beta: Array
    roots: tuple[Array, ...]
    sigma: float


@dataclass(frozen=True, eq=False)
class RandomPart:
    """One term whose random effects are drawn: columns (n, k), levels of the rows, root (k, k).

    Levels beyond those of a known covariance are independent of one another and of these.
    """

    X: Array
    codes: Index
    levels: int
    root: Array
    known: KnownMatrix | None = None

    def draw(self, rng: np.random.Generator) -> Array:
        """Return random effects, (levels, k)."""
        known = self.known
        if known is None:
            return np.asarray(rng.standard_normal((self.levels, len(self.root))) @ self.root.T)
        own = known.from_independent(rng.standard_normal((known.effects, len(self.root))))
        others = rng.standard_normal((self.levels - len(own), len(self.root)))
        return np.asarray(np.concatenate([own, others]) @ self.root.T)


@dataclass(frozen=True, eq=False)
class Simulator:
    """Draws responses.

    Parameters
    ----------
    mean : ndarray (n,)
    parts : sequence of RandomPart
    sigma : float
    noise : Noise
    """

    mean: Array
    parts: Sequence[RandomPart]
    sigma: float
    noise: Noise

    def draw(self, seed: SeedSequence) -> Array:
        """Return one response (n,)."""
        rng = np.random.default_rng(seed)
        e = rng.standard_normal(len(self.mean))
        y = self.mean + self.noise.root_solve(self.sigma * e)
        for part in self.parts:
            b = part.draw(rng)
            y += np.einsum("nk,nk->n", part.X, effects_of_rows(part.codes, b))
        return np.asarray(y)


def draw(simulator: Any, seeds: Sequence[SeedSequence]) -> Array:
    """Return one response for each seed, (n, len(seeds))."""
    return np.column_stack([simulator.draw(seed) for seed in seeds])


def spawn_seeds(rng: Any, n: int) -> list[SeedSequence]:
    """Return a seed for each of n draws, so that a draw does not depend on the others.

    Parameters
    ----------
    rng : None, int, SeedSequence or Generator
        A Generator gives other seeds each time.
    n : int
    """
    try:
        source: Any = np.random.default_rng(rng).bit_generator.seed_seq
        return list(source.spawn(n))
    except (TypeError, ValueError, AttributeError):
        raise FitError(
            f"rng={rng!r} is no source of random numbers. Pass None, a non-negative whole number, "
            "or numpy.random.default_rng(...)."
        ) from None


def seed_text(seed: SeedSequence) -> str:
    """Return the Python text that makes a seed again."""
    return f"numpy.random.SeedSequence({seed.entropy}, spawn_key={tuple(seed.spawn_key)})"


def check_count(n: Any, what: str = "n") -> int:
    """Return n as an int of 1 or more, or say that it is none."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise FitError(f"{what}={n!r} is no number of draws. Pass a whole number of 1 or more.")
    return int(n)


def design_simulator(design: Design, parameters: Parameters) -> Simulator:
    """Return the simulator of the rows of a design."""
    require_rows(design)
    known = 0.0 if design.offset is None else design.offset
    parts = [
        RandomPart(t.X, t.codes, t.n_codes, root, t.related)
        for t, root in zip(design.terms, parameters.roots)
    ]
    mean = design.X @ parameters.beta + known
    return Simulator(mean, parts, parameters.sigma, noise_of(design))


def fit_parameters(fit: Fit, changed: Mapping[str, Any] | None = None) -> Parameters:
    """Return the estimates of a fit, some of them replaced.

    Parameters
    ----------
    fit : Fit
    changed : mapping, optional
        Any of "beta", "theta" or "covariances", and "sigma".
    """
    known = ("beta", "theta", "covariances", "sigma")
    if not isinstance(changed, Mapping | None):
        raise FitError(f"params={shown(changed)} is no mapping. Write params={{'sigma': 1.0}}.")
    changed = dict(changed or {})
    for name in changed:
        if name not in known:
            raise FitError(
                f"params has {name!r}, which is no parameter.{did_you_mean(str(name), known)} "
                f"Use any of {', '.join(known)}."
            )
    if "covariances" not in changed:
        changed.setdefault("theta", fit.theta)
    changed = {"beta": fit.beta, "sigma": fit.sigma, **changed}
    return given_parameters(fit.design, fit.problem.covariance, **changed)


def given_parameters(
    design: Design,
    covariance: Covariance,
    beta: Any,
    sigma: Any,
    theta: Any = None,
    covariances: Any = None,
) -> Parameters:
    """Return parameters that a user wrote down, or say what is wrong with them.

    Parameters
    ----------
    design : Design
    covariance : Covariance
    beta : array_like (p,) or mapping of name to number
    sigma : float
    theta : array_like (m,), optional
        Relative covariance parameters; or
    covariances : mapping of term name to array, or sequence of arrays
        The covariance matrix (a variance for one column) of the random effects of each term.
    """
    is_number = isinstance(sigma, int | float | np.number) and not isinstance(sigma, bool)
    if not (is_number and np.isfinite(sigma) and sigma > 0):
        raise FitError(f"sigma={sigma!r} is no standard deviation. Pass a positive number.")
    if (theta is None) == (covariances is None):
        raise FitError(
            "the random effects need either theta (relative covariance factors) or covariances "
            "(their covariance matrices). Pass one of the two."
        )
    if covariances is None:
        templates = covariance.term_templates(read_theta(covariance, theta))
        roots = [sigma * T for T in templates]
    else:
        roots = _roots(design, covariances)
    return Parameters(_coefficients(design, beta), tuple(roots), float(sigma))


def _coefficients(design: Design, beta: Any) -> Array:
    """Return the fixed effects in the order of X."""
    names = design.x_names
    if isinstance(beta, Mapping | pd.Series):
        given = dict(beta.items())
        for name in given:
            if name not in names:
                near = did_you_mean(str(name), names)
                raise FitError(
                    f"beta has {name!r}, which is no fixed effect.{near} "
                    f"The fixed effects are {', '.join(names)}."
                )
        missing = [name for name in names if name not in given]
        if missing:
            raise FitError(f"beta lacks {', '.join(missing)}. Give a number for each.")
        beta = [given[name] for name in names]
    try:
        values = np.atleast_1d(np.asarray(beta, dtype=float))
    except (TypeError, ValueError, OverflowError):
        values = np.full(len(names) + 1, np.nan)  # no numbers, whatever the names
    if values.shape != (len(names),) or not np.isfinite(values).all():
        raise FitError(
            f"beta must hold {len(names)} finite numbers, for {', '.join(names)}, "
            f"not {_shape(beta)}. A mapping of names to numbers will do, too."
        )
    return values


def _shape(values: Any) -> Any:
    """Return the shape of an array-like, or what it is instead."""
    try:
        return np.shape(values)
    except ValueError:
        return "lists of different lengths"


def _roots(design: Design, covariances: Any) -> list[Array]:
    """Return a square root of each term's covariance matrix."""
    names = [term.name for term in design.terms]
    if not isinstance(covariances, Mapping):
        number = isinstance(covariances, int | float | np.number)
        given = [covariances] if number else list(covariances)
        if len(given) != len(names):
            raise FitError(
                f"covariances has {len(given)} entries; the model has {len(names)} random terms "
                f"({', '.join(names)}). Give one for each, or a mapping of names."
            )
        covariances = dict(zip(names, given))
    for name in covariances:
        if name not in names:
            near = did_you_mean(str(name), names)
            raise FitError(f"covariances has {name!r}, which is no random term.{near}")
    missing = [name for name in names if name not in covariances]
    if missing:
        raise FitError(f"covariances lacks {', '.join(missing)}. Give one for each random term.")
    return [_root(term, covariances[term.name]) for term in design.terms]


def _root(term: TermDesign, given: Any) -> Array:
    """Return the symmetric square root of one covariance matrix."""
    k = len(term.columns)
    cov = np.asarray(given, dtype=float)
    kind = term.kind
    if cov.size == 1 and kind.one_variance and not kind.correlated:
        cov = np.full(k, float(cov.ravel()[0]))
    if cov.ndim == 0 or (cov.shape == (k,) and (not kind.correlated or k == 1)):
        cov = np.diag(np.atleast_1d(cov))
    if cov.shape != (k, k):
        raise FitError(
            f"the covariance of {term.name!r} has shape {np.shape(given)}; it needs {(k, k)}, for "
            f"{', '.join(term.columns)}."
        )
    values, vectors = np.linalg.eigh(0.5 * (cov + cov.T)) if np.isfinite(cov).all() else (None, cov)
    if values is None or not np.allclose(cov, cov.T) or values[0] < -1e-10 * max(values[-1], 0.0):
        raise FitError(
            f"the covariance of {term.name!r} is no covariance matrix: {cov.tolist()}. It must be "
            "finite, symmetric and have no negative eigenvalue."
        )
    if not kind.correlated and np.any(cov - np.diag(np.diag(cov))):
        raise FitError(f"the columns of {term.text} are uncorrelated. Give their variances only.")
    if kind.one_variance and np.ptp(np.diag(cov)):
        raise FitError(f"the columns of {term.text} have one variance. Give one number.")
    root = np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)
    if not kind.linear:
        _check_structure(term, cov, root)
    return root


def _check_structure(term: TermDesign, cov: Array, root: Array) -> None:
    """Refuse a covariance matrix that a term's structure does not have."""
    T = term.kind.template(term.kind.theta_of(root))
    if not np.allclose(T @ T.T, cov, rtol=1e-8, atol=1e-8 * float(np.abs(cov).max())):
        raise FitError(
            f"the covariance of {term.name!r} is none of {term.text}: {cov.tolist()}. Give one of "
            "this structure, or simulate from a model with another."
        )


def simulate(
    model: Assembled,
    beta: Any,
    theta: Any = None,
    covariances: Any = None,
    sigma: float = 1.0,
    n: int = 1,
    rng: Any = None,
) -> pd.DataFrame:
    """Draw responses from parameters, without a fit.

    Parameters
    ----------
    beta : array_like (p,) or mapping of name to number
        Fixed effects, in the order of ``exog_names`` or by name.
    theta : array_like (m,), optional
        Relative covariance parameters, as `MixedLMResults.theta`; or
    covariances : mapping of term name to array_like, or sequence of array_like
        The covariance matrix of the random effects of each term, in the units of the response;
        a variance for a term of one column, variances for uncorrelated columns.
    sigma : float
        Residual standard deviation (of a row with weight one).
    n : int
        Number of responses.
    rng : None, int or numpy.random.Generator
        Source of random numbers. Each column has a stream of its own.

    Returns
    -------
    DataFrame (nobs, n)
        With the index of the data.

    Raises
    ------
    FitError
        If a parameter is missing, unknown or impossible, or n < 1.

    Notes
    -----
    y = Xβ + offset + Zb + e with b ~ N(0, Σ) and e ~ N(0, σ²W⁻¹). A model is made with a
    response; when planning a study that has none yet, put any numbers that are not all equal
    into its column. They play no part here.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mixedlm_ext import MixedLM
    >>> plan = pd.DataFrame({"g": np.repeat(range(20), 5), "x": np.tile(range(5), 20)})
    >>> plan["y"] = plan["x"]  # a placeholder
    >>> model = MixedLM.from_formula("y ~ x + (1 | g)", plan)
    >>> y = model.simulate({"Intercept": 0, "x": 0.5}, covariances={"g": 1.0}, n=3, rng=1)
    >>> y.shape
    (100, 3)
    """
    check_plain_residuals(model.design)
    simulator = design_simulator(model.design, stated(model, beta, theta, covariances, sigma))
    values = draw(simulator, spawn_seeds(rng, check_count(n)))
    return pd.DataFrame(values, index=model.design.index)


def check_plain_residuals(design: Design) -> None:
    """Refuse a model whose residuals have parameters that nobody gave."""
    if design.residual is not None and design.residual.values is None:
        raise FitError(
            f"the residuals of this model have a structure, {design.residual.text}, whose "
            "parameters are not known before a fit. Fit first, and use simulate() of the result."
        )


def stated(model: Assembled, beta: Any, theta: Any, covariances: Any, sigma: Any) -> Parameters:
    """Return parameters that a user wrote down."""
    covariance = model.problem.covariance
    return given_parameters(model.design, covariance, beta, sigma, theta, covariances)
