"""Laplace's criterion and quadrature: gradients, a dense oracle, brute-force integrals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import integrate, optimize, stats

from mixedlm_ext.criteria.generalized import GeneralizedProblem, generalized_problem
from mixedlm_ext.criteria.laplace import LaplaceCriterion
from mixedlm_ext.criteria.quadrature import QuadratureCriterion
from mixedlm_ext.design import design_from_formula
from mixedlm_ext.errors import FitError
from mixedlm_ext.families.choose import likelihood_of
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.language.parser import parse_formula

Array = NDArray[np.float64]
F, L = sm.families, sm.families.links
RANDOM = {
    "one": "(1 | g)",
    "slope": "(x | g)",
    "crossed": "(1 | g) + (1 | h)",
    "crossed slopes": "(x | g) + (x || h)",
    "nested": "(1 | h / g)",
    "cs": "cs(0 + C(t) | g)",
    "ar1": "ar1(0 + C(t) | g) + (1 | h)",
}
FAMILIES: dict[str, Any] = {
    "logit": F.Binomial(),
    "probit": F.Binomial(L.Probit()),
    "poisson": F.Poisson(),
    "gamma log": F.Gamma(L.Log()),
    "negative binomial": F.NegativeBinomial(alpha=1.0),
    "complementary log-log": F.Binomial(L.CLogLog()),
}


def data(family: Any, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    frame = pd.DataFrame(
        {
            "g": [f"g{i}" for i in rng.integers(0, 8, n)],
            "h": [f"h{i}" for i in rng.integers(0, 4, n)],
            "x": rng.normal(size=n),
            "t": rng.integers(0, 3, n),
        }
    )
    if isinstance(family, F.Binomial):
        frame["y"] = rng.binomial(5, 0.5, n) / 5.0
    elif isinstance(family, F.Gamma):
        frame["y"] = rng.gamma(2.0, 1.0, n)
    else:
        frame["y"] = rng.poisson(2.0, n).astype(float)
    return frame


def problem(random: str, family: Any, observed: bool, n: int = 60) -> GeneralizedProblem:
    frame = data(family, n)
    formula = parse_formula(f"y ~ x + {random}", columns=list(frame.columns))
    design = design_from_formula(formula, frame, env={}, allow_saturated=True)
    trials = np.full(n, 5.0) if isinstance(family, F.Binomial) else None
    return generalized_problem(
        design, likelihood_of(family, design.y, PriorWeights(trials)), observed
    )


def a_point(p: GeneralizedProblem, fast: bool, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    theta = p.covariance.start() * 0.6 + 0.1 * rng.normal(size=p.covariance.n_theta)
    low, high = p.covariance.domain
    theta = np.clip(theta, low + 0.05, high - 0.05)
    zeta = np.zeros(0) if fast else 0.3 * rng.normal(size=p.p)
    return np.concatenate([theta, zeta, 0.4 * np.ones(p.n_extra)])


def numeric(function: Callable[[Array], float], x: Array, h: float = 1e-3) -> Array:
    out = np.empty(len(x))
    for j in range(len(x)):
        step = h * np.eye(len(x))[j]
        near = function(x + step) - function(x - step)
        out[j] = (8.0 * near - function(x + 2 * step) + function(x - 2 * step)) / (12.0 * h)
    return out


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("name", ["logit", "gamma log"])
def test_the_gradient_of_every_structure(name: str, random: str, fast: bool) -> None:
    p = problem(RANDOM[random], FAMILIES[name], observed=name == "gamma log")
    criterion = LaplaceCriterion(p, fast)
    point = a_point(p, fast)
    wanted = numeric(lambda x: criterion.at(x).value, point)
    np.testing.assert_allclose(criterion.at(point).gradient, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_of_every_family(name: str, observed: bool, fast: bool) -> None:
    p = problem("(1 | g) + (1 | h)", FAMILIES[name], observed)
    criterion = LaplaceCriterion(p, fast)
    for seed in range(2):
        point = a_point(p, fast, seed)
        wanted = numeric(lambda x: criterion.at(x).value, point)
        np.testing.assert_allclose(criterion.at(point).gradient, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("random", ["one", "crossed slopes", "ar1"])
def test_derivatives_along_the_steps(random: str) -> None:
    p = problem(RANDOM[random], FAMILIES["logit"], False)
    e = LaplaceCriterion(p).at(a_point(p, False))
    g, H = e.derivatives(exact=True)
    wanted = numeric(lambda s: e.retract(s).value, np.zeros(len(g)))
    np.testing.assert_allclose(g, wanted, rtol=1e-5, atol=1e-5)
    d, h = len(H), 2e-3
    for i in range(d):
        for j in range(i + 1):
            a, b = h * np.eye(d)[i], h * np.eye(d)[j]
            value = [e.retract(s).value for s in (a + b, a - b, b - a, -a - b)]
            wanted = (value[0] - value[1] - value[2] + value[3]) / (4.0 * h * h)
            assert H[i, j] == pytest.approx(wanted, rel=2e-3, abs=2e-2)


# --------------------------------------------------------------- oracles that share no code


def dense_laplace(p: GeneralizedProblem, point: Array, observed: bool) -> float:
    """-2 log-likelihood by Laplace with dense matrices, modes by a general optimizer."""
    m = p.covariance.n_theta
    theta, zeta, omega = point[:m], point[m : m + p.p], point[m + p.p :]
    Z = p.rows.some(np.arange(p.n)).toarray()
    Lambda = np.zeros((Z.shape[1], Z.shape[1]))
    start = 0
    for T, (k, levels) in zip(p.covariance.templates(theta), p.linear.cp.shapes):
        own = slice(start, start + k * levels)
        Lambda[own, own] = np.kron(T, np.eye(levels))
        start += k * levels
    ZL, fixed = Z @ Lambda, p.Q @ zeta + p.offset

    def penalized(u: Array) -> float:
        return float(-p.likelihood.at(fixed + ZL @ u, omega).loglike.sum() + 0.5 * u @ u)

    def slope(u: Array) -> Array:
        return u - ZL.T @ p.likelihood.at(fixed + ZL @ u, omega).score

    found = optimize.minimize(penalized, np.zeros(Z.shape[1]), jac=slope, method="BFGS", tol=1e-11)
    at = p.likelihood.at(fixed + ZL @ found.x, omega)
    M = np.eye(Z.shape[1]) + ZL.T @ (at.weights(observed)[:, None] * ZL)
    return 2.0 * penalized(found.x) + float(np.linalg.slogdet(M)[1])


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("name", ["logit", "probit", "negative binomial"])
def test_laplace_against_dense_matrices(name: str, random: str) -> None:
    observed = name == "negative binomial"
    p = problem(RANDOM[random], FAMILIES[name], observed)
    point = a_point(p, False, 4)
    ours = LaplaceCriterion(p).at(point).value
    assert ours == pytest.approx(dense_laplace(p, point, observed), abs=1e-6)


def law(family: Any, eta: Array, omega: Array) -> Any:
    """The distribution of y by SciPy."""
    mu = family.link.inverse(eta)
    if isinstance(family, F.Binomial):
        return stats.binom(5, mu)
    if isinstance(family, F.Gamma):
        phi = float(np.exp(omega[0]))
        return stats.gamma(1.0 / phi, scale=mu * phi)
    if isinstance(family, F.NegativeBinomial):
        size = float(np.exp(omega[0]))
        return stats.nbinom(size, size / (size + mu))
    return stats.poisson(mu)


def integrated(p: GeneralizedProblem, frame: pd.DataFrame, point: Array, family: Any) -> float:
    """-2 log-likelihood of a model with (1 | g) by SciPy's integrals and densities."""
    theta, zeta, omega = point[0], point[1 : 1 + p.p], point[1 + p.p :]
    sd = theta / float(p.linear.cp.layout.places[0].whitening[0, 0])
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    fixed = X @ p.beta(zeta)
    discrete = not isinstance(family, F.Gamma)
    total = 0.0
    for level in frame["g"].unique():
        own = (frame["g"] == level).to_numpy()
        y = frame["y"].to_numpy()[own] * (5.0 if isinstance(family, F.Binomial) else 1.0)

        def joint(b: float, own: Any = own, y: Array = y) -> float:
            at = law(family, fixed[own] + b, omega)
            each = at.logpmf(y) if discrete else at.logpdf(y)
            return float(np.exp(each.sum() + stats.norm.logpdf(b, 0.0, sd)))

        value, _ = integrate.quad(joint, -12.0 * sd, 12.0 * sd, epsabs=0.0, epsrel=1e-11, limit=400)
        total += np.log(value)
    return -2.0 * total


@pytest.mark.parametrize("name", FAMILIES)
def test_quadrature_against_integrals(name: str) -> None:
    family = FAMILIES[name]
    p, frame = problem("(1 | g)", family, False), data(family)
    point = a_point(p, False, 7)
    ours = QuadratureCriterion(p, 35).at(point).value
    assert ours == pytest.approx(integrated(p, frame, point, family), abs=1e-7)
    laplace = QuadratureCriterion(p, 1).at(point).value
    assert laplace == pytest.approx(LaplaceCriterion(p).at(point).value, abs=1e-10)


@pytest.mark.parametrize("nodes", [1, 2, 5, 8])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_of_quadrature(name: str, nodes: int) -> None:
    for random in ("(1 | g)", "(0 + x | g)"):
        p = problem(random, FAMILIES[name], observed=name == "probit")
        criterion = QuadratureCriterion(p, nodes)
        point = a_point(p, False, 2)
        wanted = numeric(lambda x, c=criterion: c.at(x).value, point)
        np.testing.assert_allclose(criterion.at(point).gradient, wanted, rtol=1e-6, atol=1e-6)


def test_many_nodes_converge() -> None:
    p = problem("(1 | g)", FAMILIES["logit"], False)
    point = a_point(p, False, 1)
    values = [QuadratureCriterion(p, nodes).at(point).value for nodes in (5, 9, 25, 60)]
    assert abs(values[2] - values[3]) < 1e-9 < abs(values[0] - values[3])


@pytest.mark.parametrize("random", ["(1 | g) + (1 | h)", "(x | g)"])
def test_quadrature_is_of_one_scalar_term(random: str) -> None:
    p = problem(random, FAMILIES["logit"], False)
    with pytest.raises(FitError, match="quadrature is for one random term of one column"):
        QuadratureCriterion(p, 9)


def test_the_modes_do_not_depend_on_where_they_start() -> None:
    p = problem("(1 | g) + (1 | h)", FAMILIES["logit"], False)
    criterion, point = LaplaceCriterion(p), a_point(p, False)
    cold = criterion.at(point)
    for seed in range(3):
        u = 3.0 * np.random.default_rng(seed).normal(size=len(cold.modes.u))
        warm = criterion.at(point, u)
        assert warm.value == pytest.approx(cold.value, abs=1e-10)
        np.testing.assert_allclose(warm.gradient, cold.gradient, atol=1e-7)


def test_at_theta_zero_it_is_the_plain_model() -> None:
    p = problem("(1 | g) + (1 | h)", FAMILIES["poisson"], False)
    criterion = LaplaceCriterion(p)
    zeta = np.array([0.4, -0.2])
    e = criterion.at(np.concatenate([[0.0, 0.0], zeta]))
    X = p.linear.cp.layout.basis
    assert X is not None
    frame = data(FAMILIES["poisson"])
    eta = np.column_stack([np.ones(60), frame["x"]]) @ p.beta(zeta)
    assert e.value == pytest.approx(-2.0 * stats.poisson(np.exp(eta)).logpmf(frame["y"]).sum())
    assert (e.gradient[:2] == 0.0).all()


def test_outside_the_range_there_is_no_criterion() -> None:
    p = problem("(1 | g)", F.Gamma(L.Identity()), True)
    with pytest.raises(FitError, match="outside"):
        LaplaceCriterion(p).at(np.array([0.5, -3.0, 0.0, 0.0]))
