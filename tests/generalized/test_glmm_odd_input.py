"""Odd data and arguments of generalized models: said in words, or right; never a traceback."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from mixedlm_ext import MixedGLM, RandomTerm
from mixedlm_ext.errors import DesignError, FitError, RowsRemovedError

F, L = sm.families, sm.families.links
N = 120


def counts() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "g": np.repeat(np.arange(12), 10),
            "x": rng.normal(size=N),
            "f": np.tile(list("ab"), N // 2),
        }
    )
    eta = 0.3 + 0.5 * frame["x"] + 0.5 * rng.normal(size=12)[frame["g"]]
    frame["y"] = rng.poisson(np.exp(eta))
    frame["b"] = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    return frame


@pytest.mark.parametrize("shift", [700.0, -700.0])
def test_an_offset_beyond_all_bounds_is_an_intercept(shift: float) -> None:
    frame = counts().assign(off=shift)
    plain = MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=F.Poisson()).fit()
    moved = MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=F.Poisson(), offset="off").fit()
    assert moved.llf == pytest.approx(plain.llf, abs=1e-6)
    assert moved.params["Intercept"] + shift == pytest.approx(plain.params["Intercept"], abs=1e-6)
    np.testing.assert_allclose(moved.bse, plain.bse, rtol=1e-4)


def test_an_offset_on_another_scale_is_named() -> None:
    frame = counts().assign(off=lambda d: np.where(d["g"] == 3, 700.0, 0.0))
    model = MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=F.Poisson(), offset="off")
    with pytest.raises(FitError, match="offset runs from 0 to 700"):
        model.fit()


def test_a_poisson_mean_is_not_negative() -> None:
    """With the identity link and a count of zero, -μ would rise beyond zero."""
    model = MixedGLM.from_formula("y ~ x + (1 | g)", counts(), family=F.Poisson(L.Identity()))
    likelihood = model.assembled.problem().likelihood
    at = likelihood.at(np.full(N, -0.1), np.zeros(0))
    assert np.isnan(at.loglike).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = model.fit()
        except FitError as error:
            assert "end of their range" in str(error)
        else:
            assert (result.fittedvalues >= 0.0).all()


CELLS = {
    "exposure of text": ({"exposure": "f"}, "exposure is not numeric"),
    "exposure of zero": ({"exposure": "zero"}, "exposure is 0 at row 0; it has positive values"),
    "weights of text": ({"freq_weights": "f"}, "freq_weights is not numeric"),
    "weights that are no rows": ({"freq_weights": "tiny"}, "freq_weights sum to 1.2e-07"),
    "no weight at all": ({"freq_weights": "zero"}, "all values are zero, no row is left"),
}


@pytest.mark.parametrize("case", CELLS)
def test_arguments_of_models(case: str) -> None:
    arguments, message = CELLS[case]
    frame = counts().assign(zero=0.0, tiny=1e-9)
    with pytest.raises(DesignError, match=message):
        MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=F.Poisson(), **arguments)


FITS = {
    "start of text": (F.Poisson(), {"start_params": "a"}, "start_params='a' are no numbers"),
    "start far away": (F.Poisson(), {"start_params": [1e10]}, "standard deviation of 1e\\+10"),
    "alpha of nothing": (
        F.NegativeBinomial(alpha=1.0), {"dispersion": 1e-300}, "Poisson counts want that family",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FITS)
def test_arguments_of_fits(case: str) -> None:
    family, arguments, message = FITS[case]
    model = MixedGLM.from_formula("y ~ x + (1 | g)", counts(), family=family)
    with pytest.raises(FitError, match=message):
        model.fit(**arguments)


@pytest.mark.parametrize("link", [L.Identity(), L.InversePower()])
def test_links_that_leave_the_range_end_in_words(link: Any) -> None:
    frame = counts().assign(u=np.random.default_rng(3).standard_cauchy(N))
    family = F.NegativeBinomial(link, alpha=1.0) if isinstance(link, L.Identity) else F.Gamma(link)
    frame["y"] = frame["y"] + (0.5 if isinstance(family, F.Gamma) else 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        try:
            result = MixedGLM.from_formula("y ~ u + (u | g)", frame, family=family).fit()
        except FitError as error:
            assert "." in str(error)
        else:
            assert np.isfinite(result.llf)


@pytest.mark.parametrize(
    ("failures", "message"), [(0.5, "'m' is no whole number"), (-1.0, "'m' is negative")]
)
def test_failures_are_whole(failures: float, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        MixedGLM.from_formula("b + m ~ x + (1 | g)", counts().assign(m=failures), F.Binomial())


def test_two_columns_of_arrays() -> None:
    frame = counts()
    terms = [RandomTerm(frame["g"])]
    with pytest.raises(DesignError, match="failures is negative at row 0"):
        MixedGLM(np.column_stack([frame["b"], -frame["b"] - 1.0]), None, terms, family=F.Binomial())
    text = np.column_stack([frame["f"], frame["f"]])
    with pytest.raises(DesignError, match="successes and failures, has text"):
        MixedGLM(text, None, terms, family=F.Binomial())


def test_a_model_whose_data_were_removed() -> None:
    model = MixedGLM.from_formula("y ~ x + (1 | g)", counts(), family=F.Poisson())
    model.fit().remove_data()
    fresh = MixedGLM.from_formula("y ~ x + (1 | g)", counts(), family=F.Poisson())
    fresh.drop_rows()
    with pytest.raises(RowsRemovedError, match="Build the model again"):
        fresh.fit()


def test_a_model_that_memory_does_not_hold_is_refused_before_it_takes_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mixedlm_ext.solvers import direct
    from mixedlm_ext.solvers.costs import Costs

    monkeypatch.setattr(direct, "costs_of", lambda A: Costs(memory=1e6))
    rng, n = np.random.default_rng(0), 8000
    frame = pd.DataFrame({"a": rng.integers(0, 1500, n), "b": rng.integers(0, 1200, n)})
    frame["y"] = rng.poisson(1.0, n)
    model = MixedGLM.from_formula("y ~ 1 + (1 | a) + (1 | b)", frame, family=F.Poisson())
    with pytest.raises(FitError, match=r"of memory for this model .* random effects"):
        model.fit()
