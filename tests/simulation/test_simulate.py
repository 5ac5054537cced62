"""Simulated responses: their moments against the dense covariance, their bookkeeping."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from simulation import Example, example, quietly

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import DesignError, FitError

Array = np.ndarray

CASES = {
    "slopes": example("nested", ["1x|g"], n=24, weights=True, offset=True, seed=1),
    "crossed": example("crossed", ["1|g", "1x||h"], n=30, seed=2),
    "two terms on one factor": example("nested", ["1|g", "x|g"], n=24, weights=True, seed=3),
}


@pytest.fixture(scope="module")
def data(sleepstudy: pd.DataFrame) -> pd.DataFrame:
    return sleepstudy


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_moments_are_those_of_the_model(case: Example) -> None:
    """The covariance of n draws against σ²V, in units of its own Monte Carlo error."""
    rng = np.random.default_rng(4)
    theta, beta = rng.standard_normal(case.n_theta), rng.standard_normal(case.X.shape[1])
    sigma, n = 0.5, 20_000
    Y = case.model().simulate(beta, theta=theta, sigma=sigma, n=n, rng=1).to_numpy()
    V = sigma**2 * oracle.covariance(case.terms, theta, case.w)
    mean = case.X @ beta + (0.0 if case.offset is None else case.offset)
    sd = np.sqrt(np.diag(V))
    assert np.abs((Y.mean(axis=1) - mean) / (sd / np.sqrt(n))).max() < 4.5
    error = np.sqrt((V**2 + np.outer(np.diag(V), np.diag(V))) / n)
    assert np.abs((np.cov(Y) - V) / error).max() < 5.5


def test_fit_draws_with_its_estimates(result) -> None:
    Y = result.simulate(3, rng=7)
    same = result.model.simulate(result.params, theta=result.theta, sigma=result.sigma, n=3, rng=7)
    pd.testing.assert_frame_equal(Y, same)
    assert Y.shape == (180, 3) and Y.index.equals(result.model.design.index)


def test_covariances_are_in_the_units_of_the_response(result) -> None:
    cov = result.fit_record.random_cov[0]
    one = result.model.simulate(
        result.params, covariances={"Subject": cov}, sigma=25, n=4000, rng=1
    )
    two = result.model.simulate(result.params, covariances=[cov], sigma=25, n=1, rng=1)
    assert_allclose(one[0], two[0])
    V = np.cov(one.iloc[:10])  # the days of one subject
    A = np.column_stack([np.ones(10), np.arange(10.0)])
    assert_allclose(V, A @ cov @ A.T + 625 * np.eye(10), rtol=0.15, atol=60)


def test_conditional_draws_keep_the_modes(result) -> None:
    Y = result.simulate(4000, rng=2, conditional=True).to_numpy()
    error = result.sigma / np.sqrt(4000)
    assert np.abs(Y.mean(axis=1) - result.fittedvalues).max() < 4.5 * error
    assert_allclose(Y.std(axis=1), result.sigma, rtol=0.06)


def test_streams(result) -> None:
    """A column does not depend on the others; a Generator goes on."""
    first = result.simulate(2, rng=3)
    assert_allclose(result.simulate(5, rng=3)[[0, 1]], first)
    generator = np.random.default_rng(3)
    assert_allclose(result.simulate(2, rng=generator), first)
    assert not np.allclose(result.simulate(2, rng=generator), first)
    assert not np.allclose(result.simulate(1), result.simulate(1))


def test_other_parameters(result) -> None:
    moved = result.simulate(1, rng=1, params={"beta": {"Days": 0.0, "Intercept": 0.0}})
    shift = result.predict(which="population")
    assert_allclose(result.simulate(1, rng=1)[0], moved[0] + shift)
    quiet = result.simulate(1, rng=1, params={"theta": [0, 0, 0], "sigma": 1e-9})
    assert_allclose(quiet[0], shift, rtol=1e-9)
    noise = result.simulate(1, rng=1, params={"covariances": [np.zeros((2, 2))], "sigma": 2.0})
    assert 1.7 < (noise[0] - shift).std() < 2.3


def test_weights_divide_the_variance(data: pd.DataFrame) -> None:
    w = np.where(np.arange(180) % 2, 100.0, 1.0)
    result = quietly(MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data, weights=w))
    Y = result.simulate(400, rng=1, conditional=True).to_numpy()
    sd = Y.std(axis=1)
    assert_allclose(sd[::2].mean() / sd[1::2].mean(), 10.0, rtol=0.02)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, dict])
def test_new_data(result, kind: Any) -> None:
    new = {"Days": [0.0, 9.0, 0.0, 9.0, 1.0], "Subject": ["308", "308", "new", "new", "other"]}
    Y = result.simulate(4000, rng=1, exog=kind(new)).to_numpy()
    cov = np.cov(Y)
    A = np.column_stack([np.ones(2), [0.0, 9.0]])
    V = A @ result.fit_record.random_cov[0] @ A.T + result.scale * np.eye(2)
    for rows in (slice(0, 2), slice(2, 4)):  # seen or not, the rows of a level belong together
        assert_allclose(cov[rows, rows], V, rtol=0.15, atol=70)
    assert np.abs(cov[:2, 2:]).max() < 80 and np.abs(cov[2:4, 4]).max() < 80


def test_new_data_conditional(result) -> None:
    new = pd.DataFrame({"Days": [0.0, 0.0], "Subject": ["308", "new"]}, index=["a", "b"])
    Y = result.simulate(4000, rng=1, exog=new, conditional=True)
    assert Y.index.tolist() == ["a", "b"]
    assert_allclose(Y.mean(axis=1), result.predict(new), atol=2.5)
    total = np.sqrt(result.fit_record.random_cov[0][0, 0] + result.scale)
    assert_allclose(Y.std(axis=1), [result.sigma, total], rtol=0.06)


def test_new_data_of_nested_factors() -> None:
    pastes = datasets.pastes.load_pandas().data
    result = MixedLM.from_formula("strength ~ 1 + (1 | batch/cask)", pastes).fit()
    new = pd.DataFrame({"batch": ["A", "A", "A", "Q"], "cask": ["a", "a", "z", "a"]})
    Y = result.simulate(20_000, rng=1, exog=new).to_numpy()
    batch, cask = (cov[0, 0] for cov in result.fit_record.random_cov)
    expected = np.full((4, 4), batch)
    expected[3, :] = expected[:, 3] = 0.0
    expected[3, 3] = batch
    expected[:2, :2] += cask
    expected[[2, 3], [2, 3]] += cask
    assert_allclose(np.cov(Y), expected + result.scale * np.eye(4), atol=0.4)


def test_missing_values_in_new_data(result) -> None:
    new = pd.DataFrame({"Days": [0.0, np.nan], "Subject": ["308", "309"]})
    assert result.simulate(2, rng=1, exog=new).isna().to_numpy().tolist() == [
        [False] * 2,
        [True] * 2,
    ]


def test_weights_of_new_data(data: pd.DataFrame) -> None:
    new = pd.DataFrame({"Days": [1.0, 1.0], "Subject": ["308", "308"], "w": [1.0, 1e12]})
    framed = data.assign(w=1.0 + np.arange(180) % 3)
    named = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", framed, weights="w").fit()
    Y = named.simulate(5, rng=1, exog=new, conditional=True)
    assert_allclose(Y.loc[1], named.predict(new)[1], rtol=1e-5)
    with pytest.raises(DesignError, match="no column 'w'"):
        named.simulate(exog=new.drop(columns="w"))
    array = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data, weights=framed["w"]).fit()
    with pytest.raises(DesignError, match="give those of the new rows"):
        array.simulate(exog=new.drop(columns="w"))
    assert_allclose(array.simulate(5, rng=1, exog=new, conditional=True, weights=[1.0, 1e12]), Y)


def test_arrays_have_no_new_data() -> None:
    result = quietly(CASES["crossed"].model())
    assert result.simulate(2, rng=1).shape == (30, 2)
    with pytest.raises(DesignError, match="exog needs a model made from a formula"):
        result.simulate(exog=np.ones((3, 2)))


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", True])
def test_bad_counts(result, n: Any) -> None:
    with pytest.raises(FitError, match="whole number of 1 or more"):
        result.simulate(n)


@pytest.mark.parametrize("rng", ["seed", -1, 1.5])
def test_bad_sources_of_randomness(result, rng: Any) -> None:
    with pytest.raises(FitError, match="no source of random numbers"):
        result.simulate(1, rng=rng)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": [1]}, "beta must hold 2 finite numbers, for Intercept, Days"),
        ({"beta": {"Intercept": 1}}, "beta lacks Days"),
        ({"beta": {"Intercept": 1, "days": 1}}, "'days', which is no fixed effect"),
        ({"beta": [1, np.nan]}, "finite"),
        ({"theta": None}, "either theta"),
        ({"covariances": [np.eye(2)]}, "one of the two"),
        ({"theta": [1.0]}, "3 covariance"),
        ({"sigma": -1}, "sigma=-1"),
        ({"theta": None, "covariances": [np.eye(3)]}, "has shape .3, 3.; it needs .2, 2."),
        ({"theta": None, "covariances": {"subject": np.eye(2)}}, "Did you mean 'Subject'"),
        ({"theta": None, "covariances": {}}, "lacks Subject"),
        ({"theta": None, "covariances": [np.eye(2), 1]}, "has 2 entries"),
        ({"theta": None, "covariances": [[[1, 2], [2, 1]]]}, "no covariance matrix"),
        ({"theta": None, "covariances": [[[1, 2], [0, 1]]]}, "no covariance matrix"),
    ],
)
def test_bad_parameters(result, arguments: dict[str, Any], message: str) -> None:
    whole = {"beta": [250, 10], "theta": [1, 0, 0.2], "sigma": 25.0, **arguments}
    with pytest.raises(FitError, match=message):
        result.model.simulate(**whole)


def test_covariance_of_uncorrelated_columns(data: pd.DataFrame) -> None:
    model = MixedLM.from_formula("Reaction ~ Days + (Days || Subject)", data)
    one = model.simulate([250, 10], covariances={"Subject": [600, 35]}, sigma=25, rng=1)
    two = model.simulate([250, 10], covariances=[np.diag([600, 35])], sigma=25, rng=1)
    assert_allclose(one, two)
    with pytest.raises(FitError, match="uncorrelated"):
        model.simulate([250, 10], covariances=[[[600, 9], [9, 35]]], sigma=25)


def test_unknown_params(result) -> None:
    with pytest.raises(FitError, match=r"'betas', which is no parameter. Did you mean 'beta'"):
        result.simulate(params={"betas": [1, 2]})
