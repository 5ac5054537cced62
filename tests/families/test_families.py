"""Likelihoods of rows: against statsmodels' own, and derivatives against differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from mixedlm_ext.errors import DesignError, FitError
from mixedlm_ext.families.choose import (
    check_family,
    check_response_of,
    likelihood_of,
    with_extra,
)
from mixedlm_ext.families.curves import Curve
from mixedlm_ext.families.distinct import DistinctCounts
from mixedlm_ext.families.prior import PriorWeights

Array = NDArray[np.float64]
F, L = sm.families, sm.families.links
N = 12
rng = np.random.default_rng(5)
POSITIVE = rng.uniform(0.3, 2.0, N)
ANY = rng.normal(size=N)
COUNTS = rng.poisson(3.0, N).astype(float)
TRIALS = rng.integers(1, 9, N).astype(float)
SHARES = rng.binomial(TRIALS.astype(int), 0.4) / TRIALS
VAR = rng.uniform(0.5, 3.0, N)
FREQ = rng.integers(1, 4, N).astype(float)

CASES: dict[str, tuple[Any, Array, Array, Array]] = {
    # family, response, η, ω
    "logit": (F.Binomial(), SHARES, ANY, np.zeros(0)),
    "probit": (F.Binomial(L.Probit()), SHARES, ANY, np.zeros(0)),
    "cloglog": (F.Binomial(L.CLogLog()), SHARES, ANY - 1.0, np.zeros(0)),
    "loglog": (F.Binomial(L.LogLog()), SHARES, ANY, np.zeros(0)),
    "cauchy": (F.Binomial(L.Cauchy()), SHARES, ANY, np.zeros(0)),
    "binomial log": (F.Binomial(L.Log()), SHARES, -0.2 - POSITIVE, np.zeros(0)),
    "binomial logc": (F.Binomial(L.LogC()), SHARES, -0.2 - POSITIVE, np.zeros(0)),
    "binomial identity": (F.Binomial(L.Identity()), SHARES, POSITIVE / 2.5, np.zeros(0)),
    "poisson": (F.Poisson(), COUNTS, ANY, np.zeros(0)),
    "poisson sqrt": (F.Poisson(L.Sqrt()), COUNTS, POSITIVE, np.zeros(0)),
    "poisson identity": (F.Poisson(L.Identity()), COUNTS, POSITIVE, np.zeros(0)),
    "gaussian": (F.Gaussian(), ANY, POSITIVE, np.array([0.3])),
    "gaussian log": (F.Gaussian(L.Log()), ANY, POSITIVE, np.array([0.3])),
    "gaussian inverse": (F.Gaussian(L.InversePower()), ANY, POSITIVE, np.array([-0.3])),
    "gamma": (F.Gamma(), POSITIVE, POSITIVE[::-1], np.array([-0.5])),
    "gamma log": (F.Gamma(L.Log()), POSITIVE, ANY, np.array([-0.5])),
    "gamma identity": (F.Gamma(L.Identity()), POSITIVE, POSITIVE[::-1], np.array([0.2])),
    "inverse gaussian": (F.InverseGaussian(), POSITIVE, POSITIVE[::-1], np.array([0.4])),
    "inverse gaussian log": (F.InverseGaussian(L.Log()), POSITIVE, ANY, np.array([-0.4])),
    "negative binomial": (F.NegativeBinomial(alpha=0.5), COUNTS, ANY, np.log([2.0])),
    "negative binomial power": (
        F.NegativeBinomial(L.Power(0.5), alpha=0.25), COUNTS, POSITIVE, np.log([4.0]),
    ),
}  # fmt: skip


def likelihood(name: str, plain: bool = False) -> tuple[Any, Array, Array]:
    family, y, eta, omega = CASES[name]
    trials = TRIALS if isinstance(family, F.Binomial) else None
    prior = PriorWeights(trials) if plain else PriorWeights(trials, VAR, FREQ)
    return likelihood_of(family, y, prior), eta, omega


def difference(function: Callable[[Array], Array], x: Array, h: float = 1e-3) -> Array:
    """Fourth-order central difference, elementwise."""
    near, far = function(x + h) - function(x - h), function(x + 2 * h) - function(x - 2 * h)
    return (8.0 * near - far) / (12.0 * h)


@pytest.mark.parametrize("name", CASES)
def test_the_log_likelihood_is_statsmodels(name: str) -> None:
    model, eta, omega = likelihood(name)
    family, y, *_ = CASES[name]
    mu = family.link.inverse(eta)
    scale = float(np.exp(omega[0])) if model.extra == "dispersion" else 1.0
    if isinstance(family, F.Binomial):
        family.n = TRIALS
    wanted = family.loglike_obs(y, mu, var_weights=VAR, scale=scale) * FREQ
    if isinstance(family, F.Binomial):
        family.n = 1
    np.testing.assert_allclose(model.at(eta, omega).loglike, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_in_eta(name: str) -> None:
    model, eta, omega = likelihood(name)
    at = model.at(eta, omega)

    def of(attribute: str) -> Callable[[Array], Array]:
        return lambda x: getattr(model.at(x, omega), attribute)

    for attribute, derivative, sign in (
        ("loglike", at.score, 1.0),
        ("score", at.observed, -1.0),
        ("observed", at.observed_slope, 1.0),
        ("expected", at.expected_slope, 1.0),
    ):
        numeric = sign * difference(of(attribute), eta)
        np.testing.assert_allclose(derivative, numeric, rtol=2e-7, atol=2e-7)


@pytest.mark.parametrize("name", [n for n in CASES if len(CASES[n][3])])
def test_derivatives_in_omega(name: str) -> None:
    model, eta, omega = likelihood(name)
    at = model.at(eta, omega)
    for attribute, derivative in (
        ("loglike", at.extra_score),
        ("score", at.score_extra),
        ("expected", at.expected_extra),
        ("observed", at.observed_extra),
    ):
        numeric = difference(lambda w, a=attribute: getattr(model.at(eta, w), a), omega)
        np.testing.assert_allclose(derivative, numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_expected_information_is_the_mean_of_the_observed(name: str) -> None:
    """Observed information is linear in y, so that its mean is that at y = μ."""
    model, eta, omega = likelihood(name, plain=True)
    at = model.at(eta, omega)
    family = CASES[name][0]
    if isinstance(family, F.Binomial):
        assert np.allclose(model.with_response(at.mu).at(eta, omega).observed, at.expected)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = model.with_response(at.mu).at(eta, omega)
        np.testing.assert_allclose(again.observed, at.expected, rtol=1e-9)


@pytest.mark.parametrize("link", [L.Logit(), L.Probit(), L.Cauchy(), L.CLogLog(), L.LogLog()])
def test_digits_at_the_ends_of_the_range(link: Any) -> None:
    """Where μ is one to the last digit, 1 - μ and the likelihood of a failure have theirs."""
    eta = np.array([-30.0, -8.0, 3.0, 6.0, 30.0])
    curve = Curve(link, eta)
    mirrored = {L.CLogLog: L.LogLog(), L.LogLog: L.CLogLog()}.get(type(link), link)
    np.testing.assert_allclose(curve.complement, Curve(mirrored, -eta).mu, rtol=1e-12)
    model = likelihood_of(F.Binomial(link), np.array([0.0, 1.0, 0.0, 1.0, 0.0]), PriorWeights())
    at = model.at(eta, np.zeros(0))
    inside = eta < 20
    for values in (at.score, at.expected, at.observed, at.expected_slope, at.observed_slope):
        assert np.isfinite(values[inside]).all()


def test_exp_may_overflow() -> None:
    """An infinite mean has no likelihood; nothing warns and nothing is nan where it matters."""
    model = likelihood_of(F.Poisson(), np.array([3.0, 0.0]), PriorWeights())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isfinite(model.at(np.array([800.0, 0.0]), np.zeros(0)).loglike.sum())
        logit = likelihood_of(F.Binomial(), np.array([1.0, 0.0]), PriorWeights())
        at = logit.at(np.array([800.0, -800.0]), np.zeros(0))
        assert at.loglike.tolist() == [0.0, 0.0]
        assert at.score.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (F.Binomial, "family is the class Binomial. Pass an object: family=sm.families.Binomial()"),
        ("poisson", "family='poisson' is no family of statsmodels. Pass one of sm.families.Bino"),
        (None, "family=None is no family of statsmodels"),
        (F.Tweedie(), "the Tweedie family is not available for mixed models"),
    ],
)
def test_what_is_no_family(family: Any, message: str) -> None:
    with pytest.raises(FitError) as error:
        check_family(family)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("family", "values", "trials", "message"),
    [
        (F.Binomial(), [0.0, 2.0], None, "response 'y' is 2 at row 'b'. A binomial response lies"),
        (F.Binomial(), [0.5, 1.0], None, "Without weights a binomial response is 0 or 1. For a pr"),
        (F.Binomial(), [0.5, 1.0], [3.0, 2.0], "It times its weight, the number of trials, is no"),
        (F.Poisson(), [1.0, -1.0], None, "is -1 at row 'b'. Counts are whole numbers"),
        (F.NegativeBinomial(alpha=1), [1.5, 1.0], None, "is 1.5 at row 'a'. Counts are whole"),
        (F.Gamma(), [0.0, 1.0], None, "is 0 at row 'a'. The Gamma family has positive values"),
        (F.InverseGaussian(), [-1.0, -2.0], None, "and 1 more. The InverseGaussian family has p"),
    ],
)
def test_what_a_response_cannot_be(
    family: Any, values: list[float], trials: list[float] | None, message: str
) -> None:
    prior = PriorWeights(None if trials is None else np.array(trials))
    with pytest.raises(DesignError) as error:
        check_response_of(family, np.array(values), prior, "y", pd.Index(["a", "b"]))
    assert message in str(error.value)


def test_the_estimated_alpha_is_in_the_family() -> None:
    family = with_extra(F.NegativeBinomial(L.Log(), alpha=1.0), np.log([4.0]))
    assert family.alpha == pytest.approx(0.25)
    assert isinstance(family.link, L.Log)
    assert with_extra(F.Poisson(), np.zeros(0)).__class__ is F.Poisson


@pytest.mark.parametrize("name", CASES)
def test_many_responses_are_each_of_its_own(name: str) -> None:
    model, eta, omega = likelihood(name)
    y = CASES[name][1]
    Y, etas = np.column_stack([y, y[::-1], y]), np.column_stack([eta, eta, eta + 0.01])
    omegas = omega[:, None] + np.array([0.0, 0.2, 8.0])
    many = model.of_many(Y).take_responses(np.array([2, 0, 1])).take_responses([1, 2, 0])
    at = many.given(omegas)(etas)
    for j in range(3):
        own = model.with_response(np.ascontiguousarray(Y[:, j])).at(etas[:, j], omegas[:, j])
        for attribute in ("loglike", "score", "observed", "expected_slope", "observed_slope"):
            np.testing.assert_allclose(
                getattr(at, attribute)[:, j], getattr(own, attribute), rtol=1e-10, atol=1e-12
            )
        np.testing.assert_allclose(at.total[j], own.loglike.sum(), rtol=1e-11)
        if len(omega):
            np.testing.assert_allclose(
                at.extra_total[j], own.extra_score.sum(), rtol=1e-8, atol=1e-12
            )
            for attribute in ("score_extra", "expected_extra", "observed_extra"):
                np.testing.assert_allclose(
                    np.broadcast_to(getattr(at, attribute), Y.shape)[:, j],
                    getattr(own, attribute),
                    rtol=1e-9,
                    atol=1e-13,
                )
        starts = model.with_response(Y[:, j]).start_omega(etas[:, j])
        np.testing.assert_allclose(many.start_omega(etas)[:, j] if len(omega) else [], starts)


def test_distinct_counts_of_some_responses() -> None:
    Y = np.random.default_rng(3).poisson(2.0, (30, 5)).astype(float)
    weights = np.arange(1.0, 31.0)[:, None]
    counts = DistinctCounts.of(Y, weights)
    assert len(counts.values) < 60
    np.testing.assert_allclose(counts.total(np.sqrt(counts.values)), (weights * Y**0.5).sum(axis=0))
    some = counts.take(np.array([3, 1]))
    np.testing.assert_allclose(some.total(some.values), (weights * Y).sum(axis=0)[[3, 1]])
    np.testing.assert_array_equal(some.spread(np.array([7.0, 8.0])), np.where(some.response, 8, 7))
