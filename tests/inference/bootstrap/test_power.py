"""Power by simulation: against the exact test, and what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from simulation import quietly
from statsmodels.tools.sm_exceptions import ValueWarning

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.estimate import estimate


def balanced(levels: int = 12, days: int = 6) -> MixedLM:
    plan = pd.DataFrame(
        {
            "day": np.tile(np.arange(days, dtype=float), levels),
            "who": np.repeat(np.arange(levels), days),
        }
    ).assign(y=lambda d: d["day"])
    return MixedLM.from_formula("y ~ day + (day | who)", plan)


def test_power_is_that_of_the_exact_test() -> None:
    """Balanced slopes: the test of their mean is the t test of the least-squares slopes."""
    levels, days = 12, 6
    sigma, slope_var, beta = 1.0, 0.09, 0.25
    model = balanced(levels, days)
    power = model.power(
        "day = 0", [0, beta], covariances=[np.diag([1.0, slope_var])], sigma=sigma, n=400, rng=1
    )
    spread = ((np.arange(days) - (days - 1) / 2) ** 2).sum()
    noncentrality = beta / np.sqrt((slope_var + sigma**2 / spread) / levels)
    critical = stats.t.ppf(0.975, levels - 1)
    exact = stats.nct.sf(critical, levels - 1, noncentrality)
    assert power.ci_lower < exact < power.ci_upper
    assert power.n == 400 and power.n_failed == 0
    assert power.power == np.mean(power.pvalues < 0.05) == power.n_rejected / 400


def test_level_of_several_hypotheses() -> None:
    power = balanced().power(
        "Intercept = 0, day = 0", [0, 0], covariances=[np.eye(2)], n=200, alpha=0.2, rng=2
    )
    assert power.ci_lower < 0.2 < power.ci_upper
    assert power.to_frame()["alpha"].tolist() == [0.2]


def test_power_in_several_processes() -> None:
    pytest.importorskip("joblib")
    arguments = {"beta": [0, 0.3], "covariances": [np.eye(2) * 0.1], "n": 24, "rng": 3}
    one, two = (balanced().power("day = 0", **arguments, n_jobs=j) for j in (1, 2))
    assert (one.pvalues == two.pvalues).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hypothesis": "dose = 0"}, "hypothesis cannot be read"),
        ({"n": 0}, "n=0"),
        ({"alpha": 1.0}, "alpha=1.0"),
        ({"ddf": "satterthwait"}, "satterthwait"),
        ({"covariances": None}, "either theta"),
    ],
)
def test_bad_power(change: dict[str, Any], message: str) -> None:
    arguments = {"hypothesis": "day = 0", "beta": [0, 0], "covariances": [np.eye(2)], "n": 2}
    with pytest.raises(FitError, match=message):
        balanced().power(**{**arguments, **change})


STRONG = {"beta": [0, 5], "covariances": [np.eye(2)], "sigma": 0.5, "rng": 4}


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "residual", "normal"])
@pytest.mark.parametrize("tested", ["day = 0", "Intercept = 0, day = 0.3"])
def test_p_values_are_those_of_the_fits(ddf: str, tested: str) -> None:
    model = balanced()
    arguments = {"beta": [0.2, 0.3], "covariances": [0.2 * np.eye(2)], "rng": 5, "n": 4}
    power = model.power(tested, **arguments, ddf=ddf)
    Y = model.simulate(**arguments)
    expected = [
        quietly(model.with_response(Y[r]), ddf=ddf).wald_test(tested).pvalue for r in range(4)
    ]
    assert_allclose(power.pvalues, expected, rtol=1e-6)
    ml = model.power(tested, **arguments, reml=False, ddf="normal")
    assert not np.allclose(ml.pvalues, expected)


def test_fits_that_did_not_converge_reject_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted as failed, however small their p-values."""
    calls: list[int] = []

    def stop_every_third(design: Any, objective: Any) -> Any:
        calls.append(1)
        if len(calls) % 3:
            return estimate(design, objective)
        return estimate(design, objective, np.full(3, 9.0), maxiter=1)

    monkeypatch.setattr("mixedlm_ext.inference.bootstrap.power.estimate", stop_every_third)
    power = balanced().power("day = 0", **STRONG, n=9)
    assert (power.n, power.n_rejected, power.n_failed) == (9, 6, 3)
    assert np.flatnonzero(np.isnan(power.pvalues)).tolist() == [2, 5, 8]
    assert power.power == 6 / 9
    low, high = (stats.beta.ppf(q, *ab) for q, ab in ((0.025, (6, 4)), (0.975, (7, 3))))
    assert_allclose([power.ci_lower, power.ci_upper], [low, high])


def test_fits_that_raise_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def raise_first(design: Any, objective: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise FitError("too extreme")
        return estimate(design, objective)

    monkeypatch.setattr("mixedlm_ext.inference.bootstrap.power.estimate", raise_first)
    power = balanced().power("day = 0", **STRONG, n=3)
    assert (power.n_rejected, power.n_failed) == (2, 1)
    calls.clear()
    with pytest.raises(FitError, match="all 1 simulated fits failed; the first because: too ext"):
        balanced().power("day = 0", **STRONG, n=1)


def test_power_by_a_method_of_reml_says_so_under_ml() -> None:
    with pytest.raises(FitError, match=r"all 2 simulated fits failed; the first because: .*REML"):
        balanced().power("day = 0", **STRONG, n=2, reml=False, ddf="kenward-roger")


def test_a_p_value_at_the_level_does_not_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    model = balanced()
    p = np.sort(model.power("day = 0", [0, 0], covariances=[np.eye(2)], n=5, rng=1).pvalues)
    found = model.power("day = 0", [0, 0], covariances=[np.eye(2)], n=5, rng=1, alpha=p[2])
    assert found.n_rejected == 2


def test_redundant_hypotheses_are_told_once() -> None:
    arguments = {"beta": [0, 0.3], "covariances": [np.eye(2) * 0.1], "n": 3, "rng": 3}
    with pytest.warns(ValueWarning, match="3 rows but rank 2; 2 are tested") as caught:
        three = balanced().power("Intercept = 0, day = 0.1, 2*Intercept + day = 0.1", **arguments)
    assert len(caught) == 1 and caught[0].filename == __file__
    two = balanced().power("Intercept = 0, day = 0.1", **arguments)
    assert_allclose(three.pvalues, two.pvalues)


def test_a_redundant_row_between_others() -> None:
    arguments = {"beta": [0, 0.3], "covariances": [np.eye(2) * 0.1], "n": 3, "rng": 3}
    with pytest.warns(ValueWarning, match="rank 2"):
        three = balanced().power("Intercept = 0, 2*Intercept = 0, day = 0.1", **arguments)
    two = balanced().power("Intercept = 0, day = 0.1", **arguments)
    assert_allclose(three.pvalues, two.pvalues)


@pytest.mark.parametrize(
    ("tested", "message"),
    [
        ("day = 0, day = 1", "contradicts itself"),
        (np.zeros((1, 2)), "only zeros"),
        (np.eye(3), "cannot be read"),
    ],
)
def test_impossible_hypotheses(tested: Any, message: str) -> None:
    with pytest.raises(FitError, match=message):
        balanced().power(tested, **STRONG, n=2)
