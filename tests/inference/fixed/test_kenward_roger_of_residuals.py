"""Kenward and Roger's method with residual structures and held parameters, by dense algebra."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle_residual import Dense, relationships
from simulation import quietly
from test_curved import dense_kr

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import FitError, RowsRemovedError

Array = np.ndarray
PLAIN = "y ~ x + time + (1 | g) + (1 | item)"


@cache
def frame() -> pd.DataFrame:
    """Visits of 12 subjects, some missed, in shuffled rows."""
    rng = np.random.default_rng(6)
    g, week = np.repeat(np.arange(12), 6), np.tile(np.arange(6), 12)
    data = pd.DataFrame({"g": g, "week": week})[rng.random(72) < 0.85]
    n = len(data)
    data["time"] = data["week"] + rng.uniform(0, 0.5, n).round(2)
    data["item"], data["x"] = rng.integers(0, 5, n), rng.normal(size=n)
    data["z"], data["w"] = rng.uniform(0.5, 3.0, n), rng.uniform(0.5, 2.0, n)
    data["sex"] = np.where(data["g"] % 2, "f", "m")
    e = np.zeros(n)
    for level in range(12):
        own = np.flatnonzero(data["g"] == level)
        t = data["week"].to_numpy()[own]
        e[own] = np.linalg.cholesky(0.5 ** np.abs(t[:, None] - t)) @ rng.normal(size=len(own))
    e *= np.where(data["sex"] == "m", 1.5, 0.8) * data["z"] ** 0.5
    b, c = 1.2 * rng.normal(size=12)[data["g"]], rng.normal(size=5)[data["item"]]
    data["y"] = 2 + b + c + 0.5 * rng.normal(size=12)[data["g"]] * data["x"] + e
    return data.sample(frac=1, random_state=1).reset_index(drop=True)


@cache
def kin() -> pd.DataFrame:
    known: dict[int, tuple[int | None, int | None]] = {20: (None, None), 21: (None, None)}
    known |= dict.fromkeys(range(4), (20, 21))
    known |= dict.fromkeys(range(4, 8), (0, 1)) | dict.fromkeys(range(8, 12), (2, 5))
    return relationships(known)


def sd_and_values(count: int) -> Callable[[Any], list[float]]:
    """Standard deviations of one-column terms, the residuals' parameters, log σ."""

    def of(result: Any) -> list[float]:
        values = result.fit_record.design.residual.values
        return [*result.theta[:count], *values, np.log(result.sigma)]

    return of


def apart(u: Array, count: int) -> tuple[Array, Array, float]:
    return u[:count], u[count:-1], float(np.exp(u[-1]))


# formula, structure, options of fit, free numbers at the estimate, and what they say: theta, the
# parameters of the residuals, sigma
Case = tuple[str, dict, dict, Callable[[Any], list[float]], Callable[[Array], Any]]
CASES: dict[str, Case] = {
    "ar1": (PLAIN, {"correlation": "ar1(week | g)"}, {}, sd_and_values(2), lambda u: apart(u, 2)),
    "ar1, crossed": ("y ~ x + time + (1 | item)", {"correlation": "ar1(week | g)"}, {},
                     sd_and_values(1), lambda u: apart(u, 1)),
    "car1": ("y ~ x + time + (1 | item)", {"correlation": "car1(time | g)"}, {},
             sd_and_values(1), lambda u: apart(u, 1)),
    "cs": ("y ~ x + time + (1 | item)", {"correlation": "cs(1 | g)"}, {}, sd_and_values(1),
           lambda u: apart(u, 1)),
    "strata": (PLAIN, {"variance": "sex"}, {}, sd_and_values(2), lambda u: apart(u, 2)),
    "power": (PLAIN, {"variance": "power(z)"}, {}, sd_and_values(2), lambda u: apart(u, 2)),
    "all": (PLAIN, {"correlation": "ar1(week | g)", "variance": "sex * exp(z)", "weights": "w"},
            {}, sd_and_values(2), lambda u: apart(u, 2)),
    "no random effects": ("y ~ x + time", {"correlation": "ar1(week | g)", "variance": "sex"}, {},
                          sd_and_values(0), lambda u: apart(u, 0)),
    "slopes": ("y ~ x + time + (x | g)", {"variance": "sex"}, {},
               sd_and_values(3), lambda u: apart(u, 3)),
    "structured effects": ("y ~ x + time + cs(time | g)", {"variance": "sex"}, {},
                           sd_and_values(3), lambda u: apart(u, 3)),
    "relatives": ("y ~ x + time + (1 | gr(g, cov=A)) + (1 | item)",
                  {"correlation": "ar1(week | g)"}, {}, sd_and_values(2), lambda u: apart(u, 2)),
    "fixed rho": (PLAIN, {"correlation": "ar1(week | g)", "variance": "sex"},
                  {"fix": {"Residual.rho": 0.4}},
                  lambda r: [*r.theta, r.fit_record.design.residual.values[1], np.log(r.sigma)],
                  lambda u: (u[:2], [0.4, u[2]], np.exp(u[3]))),
    "fixed stratum": (PLAIN, {"correlation": "ar1(week | g)", "variance": "sex"},
                      {"fix": {"Residual.m": 1.8}},
                      lambda r: [*r.theta, r.fit_record.design.residual.values[0], np.log(r.sigma)],
                      lambda u: (u[:2], [u[2], 1.8 / np.exp(u[3])], np.exp(u[3]))),
    "fixed sd": (PLAIN, {"correlation": "ar1(week | g)"}, {"fix": {"item.Intercept": 0.8}},
                 lambda r: [r.theta[0], *r.fit_record.design.residual.values, np.log(r.sigma)],
                 lambda u: ([u[0], 0.8 / np.exp(u[2])], [u[1]], np.exp(u[2]))),
    "equal sds": (PLAIN, {"variance": "sex"}, {"equal": [("g.Intercept", "Residual.m")]},
                  lambda r: [r.theta[1], np.log(r.theta[0]), np.log(r.sigma)],
                  lambda u: ([np.exp(u[1]), u[0]], [np.exp(u[1])], np.exp(u[2]))),
    "known sigma": (PLAIN, {"correlation": "ar1(week | g)"}, {"sigma": 1.5},
                    lambda r: [*r.theta, *r.fit_record.design.residual.values],
                    lambda u: (u[:2], [u[2]], 1.5)),
    "correlation of effects": (
        "y ~ x + time + (x | g)", {"variance": "sex"}, {"fix": {"g.Intercept.x": 0.3}},
        lambda r: [r.theta[0], np.hypot(r.theta[1], r.theta[2]),
                   *r.fit_record.design.residual.values, np.log(r.sigma)],
        lambda u: ([u[0], 0.3 * u[1], np.sqrt(0.91) * u[1]], [u[2]], np.exp(u[3]))),
}  # fmt: skip


@cache
def fitted(case: str) -> Any:
    formula, structure, options, *_ = CASES[case]
    model = MixedLM.from_formula(formula, frame(), eval_env={"A": kin()}, **structure)
    return quietly(model, ddf="kenward-roger", **options)


@pytest.mark.parametrize("case", CASES)
def test_against_dense_algebra(case: str) -> None:
    """Every derivative of Σ by differences in the numbers that are free."""
    *_, free, map_ = CASES[case]
    result = fitted(case)
    related = kin().loc[frame()["g"], frame()["g"]].to_numpy() if case == "relatives" else None
    dense = Dense(result.model.design, [related, None] if case == "relatives" else ())

    def sigma(u: Array) -> Array:
        theta, values, s = map_(u)
        return dense.V(np.asarray(theta, float), np.asarray(values, float)) * s**2

    psi = np.array(free(result), dtype=float)
    assert (np.abs(psi[:-1]) > 1e-3).all() and (np.abs(psi) != 1.0).all()  # nothing at an end
    adjusted, df = dense_kr(result, sigma, psi)
    assert_allclose(result.cov_params(), adjusted, rtol=5e-5, atol=1e-7)
    assert_allclose(result.df_resid_inference, df, rtol=1e-4)
    plain = result.with_ddf("satterthwaite")
    assert np.abs(result.bse / plain.bse - 1).max() > 1e-5


def test_equal_correlations_are_a_random_intercept() -> None:
    """The numbers of pbkrtest are those of the random intercept (test_inference.py)."""
    one = MixedLM.from_formula("y ~ x + time", frame(), correlation="cs(1 | g)")
    two = MixedLM.from_formula("y ~ x + time + (1 | g)", frame())
    first, second = (model.fit(ddf="kenward-roger") for model in (one, two))
    assert_allclose(first.bse, second.bse, rtol=1e-5)
    assert_allclose(first.df_resid_inference, second.df_resid_inference, rtol=1e-4)
    L = np.eye(3)[1:]
    assert_allclose(first.f_test(L).fvalue, second.f_test(L).fvalue, rtol=1e-4)
    assert_allclose(first.f_test(L).df_denom, second.f_test(L).df_denom, rtol=1e-4)


def test_what_is_held_at_the_estimate_is_another_model() -> None:
    """Fixed where they are, parameters of the residuals leave the estimates and raise the df."""
    free = fitted("all")
    values = free.fit_record.design.residual.values
    names = ["Residual.rho", "ratio(Residual, m)", "exp(z)"]
    held = free.model.fit(ddf="kenward-roger", fix=dict(zip(names, map(float, values))))
    assert_allclose(held.params, free.params, rtol=1e-4)
    assert (held.bse < free.bse * 1.0001).all()
    everything = free.model.fit(
        ddf="kenward-roger",
        fix={**dict(zip(names, map(float, values))), "sigma": free.sigma, "g.Intercept": 1.0,
             "item.Intercept": 1.0},
    )  # fmt: skip
    assert np.isinf(everything.df_resid_inference).all()
    assert_allclose(everything.bse, everything.with_ddf("normal").bse, rtol=1e-9)
    assert np.isinf(everything.f_test(np.eye(3)).df_denom)


def test_plain_models_with_held_parameters() -> None:
    """Without a residual structure: a covariance of zero is the model without it."""
    one = MixedLM.from_formula("y ~ x + time + (x | g)", frame())
    two = MixedLM.from_formula("y ~ x + time + (x || g)", frame())
    first = one.fit(ddf="kenward-roger", fix={"g.Intercept.x": 0.0})
    second = two.fit(ddf="kenward-roger")
    assert_allclose(first.bse, second.bse, rtol=1e-5)
    assert_allclose(first.df_resid_inference, second.df_resid_inference, rtol=1e-4)
    with pytest.raises(FitError, match="not told apart"):
        one.fit(ddf="kenward-roger-full", fix={"g.Intercept.x": 0.0})


def test_it_is_kept_without_the_rows() -> None:
    model = MixedLM.from_formula(PLAIN, frame(), correlation="ar1(week | g)")
    result = model.fit(ddf="kenward-roger")
    before = result.df_resid_inference
    result.remove_data()
    assert_allclose(result.df_resid_inference, before)
    assert "Kenward and Roger" in str(result.summary())


def test_rows_that_were_removed_are_asked_for() -> None:
    """Without them, the parameters of the residuals would be left out."""
    data = datasets.sleepstudy.load_pandas().data
    result = MixedLM.from_formula(
        "Reaction ~ Days + (1 | Subject)", data, correlation="ar1(Days | Subject)"
    ).fit()
    before = result.with_ddf("kenward-roger").bse
    asked = result.with_ddf("kenward-roger")
    asked.remove_data()
    pd.testing.assert_series_equal(asked.bse, before)
    result.remove_data()
    with pytest.raises(RowsRemovedError, match="the covariances of their residuals"):
        result.with_ddf("kenward-roger")
