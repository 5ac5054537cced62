"""Bootstrap of a user's statistic: what it may return, and what is said of the rest."""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.inference.bootstrap.resampling import resampler
from mixedlm_ext.simulation.simulate import draw


def _params(fitted: Any) -> pd.Series:
    return fitted.params


@pytest.mark.parametrize(
    ("statistic", "names"),
    [
        (lambda r: r.params, ["Intercept", "Days"]),
        (lambda r: {"ratio": r.params["Days"] / r.params["Intercept"]}, ["ratio"]),
        (lambda r: r.sigma, ["statistic"]),
        (lambda r: [r.sigma, r.scale], ["statistic[0]", "statistic[1]"]),
        (_params, ["Intercept", "Days"]),
    ],
)
def test_statistics(result, statistic: Any, names: list[str]) -> None:
    boot = result.bootstrap(4, rng=1, statistic=statistic)
    assert boot.replicates.columns.tolist() == names
    assert boot.replicates.notna().all().all()


def test_statistics_and_parameters_agree(result) -> None:
    parameters = result.bootstrap(25, rng=1).replicates
    own = result.bootstrap(25, rng=1, statistic=lambda r: r.params)
    assert_allclose(own.replicates, parameters[["Intercept", "Days"]], rtol=1e-6)
    sd = result.bootstrap(25, rng=1, statistic=lambda r: r.varcorr()["std_dev"].to_numpy()[:2])
    expected = parameters[["sd(Subject, Intercept)", "sd(Subject, Days)"]]
    assert_allclose(sd.replicates, expected, rtol=1e-4, atol=1e-3)


def test_a_statistic_that_raises_names_the_replicate(result) -> None:
    fits = []

    def fragile(fitted: Any) -> float:
        fits.append(fitted)
        if len(fits) == 4:  # the first is the fit itself
            raise KeyError("dose")
        return fitted.sigma

    with pytest.raises(
        FitError, match=r"KeyError: 'dose' at replicate 2, .*SeedSequence\(7, spawn_key=\(2,\)\)"
    ):
        result.bootstrap(5, statistic=fragile, rng=7)
    seed = np.random.SeedSequence(7, spawn_key=(2,))
    assert_allclose(result.simulate(3, rng=7)[2], draw(_drawer(result), [seed])[:, 0])


def _drawer(fitted: Any) -> Any:
    return resampler(fitted.fit_record, "parametric")


def test_a_statistic_that_changes_its_names(result) -> None:
    calls: list[int] = []

    def fickle(fitted: Any) -> dict[str, float]:
        calls.append(1)
        return {f"v{len(calls)}": 1.0}

    with pytest.raises(FitError, match="must always return the same values"):
        result.bootstrap(3, statistic=fickle, rng=1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("significant", r"'significant' \(str\) for the fit itself\. Return a number"),
        ("3.5", r"'3\.5' \(str\) for the fit"),
        (b"3.5", r"b'3\.5' \(bytes\)"),
        (None, r"None \(does it lack a return\?\) for the fit"),
        ([1.0, None], "None as entry 1 for the fit"),
        (["a", "b"], r"'a' \(str\) as entry 0"),
        (np.array(["a", "b"]), "an array of <U1"),
        ({"p": "low"}, r"'low' \(str\) for 'p' for the fit"),
        ({"p": None}, "None for 'p'"),
        (pd.Series({"a": 1.0, "b": "x"}), r"'x' \(str\) as entry 1"),
        ([1.0, [2.0, 3.0]], r"\[2\.0, 3\.0\] \(list\) as entry 1"),
        ([np.ones(2), np.ones(3)], r"array\(\[1\., 1\.\]\) \(ndarray\) as entry 0"),
        (np.array([np.ones(2), np.ones(3)], dtype=object), r".* \(ndarray\) as entry 0"),
        (1 + 2j, r"\(1\+2j\) \(complex\)"),
        (np.complex128(1), r".* \(complex128\)"),
        (np.array([1 + 0j]), "an array of complex128"),
        ({"root": 1j}, r"1j \(complex\) for 'root'"),
        (np.eye(2), r"an array of shape \(2, 2\)"),
        (pd.DataFrame(np.eye(2)), r"an array of shape \(2, 2\)"),
        (np.datetime64("2020-01-01"), r".* \(datetime64\)"),
        (np.array(["2020-01-01"], dtype="M8[D]"), r"an array of datetime64\[D\]"),
        (pd.Timedelta(1, "D"), r".* \(Timedelta\)"),
        ([], "nothing, an empty vector"),
        ({}, "nothing, an empty vector"),
        (10**400, r"1000.*\.\.\., which is too large"),
        ((x for x in (1.0,)), r".* \(generator\)"),
        ({1.0}, r"\{1\.0\} \(set\)"),
        (pd.Series([1.0, 2.0], index=["a", "a"]), "several values by the name 'a'"),
        (max, "<built-in function max"),
    ],
)
def test_what_is_no_statistic(result, value: Any, message: str) -> None:
    found = f"(?s)the statistic returned {message}"
    with pytest.raises(FitError, match=found) as caught:
        result.bootstrap(3, statistic=lambda r: value)
    assert str(caught.value).count("the statistic") == 1


def test_text_from_some_replicates_only(result) -> None:
    def fickle(fitted: Any) -> Any:
        return fitted.sigma if fitted.params["Days"] > 9.0 else None

    with pytest.raises(FitError, match=r"returned None .* at replicate \d+, whose response comes"):
        result.bootstrap(60, statistic=fickle, rng=1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, [1.0]),
        (np.float32(0.5), [0.5]),
        (np.array(2), [2.0]),
        (Fraction(1, 4), [0.25]),
        (Decimal("0.25"), [0.25]),
        (pd.NA, [np.nan]),
        (float("nan"), [np.nan]),
        (np.ma.masked, [np.nan]),
        ((1, 2.5), [1.0, 2.5]),
        (np.array([1, 2], dtype=object), [1.0, 2.0]),
        (np.ma.array([1, 2], mask=[False, True]), [1.0, np.nan]),
        (pd.Series([1, None], dtype="Int64"), [1.0, np.nan]),
        (pd.Series([True, False]), [1.0, 0.0]),
        (pd.Index([3, 4]), [3.0, 4.0]),
        (OrderedDict(a=1, b=np.int8(2)), [1.0, 2.0]),
    ],
)
def test_what_is_a_statistic(result, value: Any, expected: list[float]) -> None:
    boot = result.bootstrap(2, statistic=lambda r: value, rng=1)
    assert_allclose(boot.estimates, expected)
    assert_allclose(boot.replicates, [expected, expected])


def test_a_statistic_by_pairs_of_names(result) -> None:
    value = {("a", 1): 1.0, ("a", 2): 2.0}
    boot = result.bootstrap(4, statistic=lambda r: value, rng=1)
    assert boot.conf_int().loc[("a", 2)].tolist() == [2.0, 2.0]


def test_a_replicate_that_did_not_converge_has_no_statistic(
    result, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def stop_every_third(design: Any, objective: Any, start: Any, **search: Any) -> Any:
        calls.append(1)
        if len(calls) % 3:
            return estimate(design, objective, start, **search)
        return estimate(design, objective, np.full(3, 9.0), maxiter=1)

    monkeypatch.setattr("mixedlm_ext.many.similar.estimate", stop_every_third)
    with pytest.warns(ConvergenceWarning, match="4 of 13 bootstrap refits failed") as caught:
        boot = result.bootstrap(13, rng=1, statistic=_params)
    assert [warning.filename for warning in caught] == [__file__]
    assert boot.failures.index.tolist() == [2, 5, 8, 11]
    assert boot.failures.str.contains("stopped after 1 evaluation ").all()
    assert boot.replicates.index[boot.replicates["Days"].isna()].tolist() == [2, 5, 8, 11]


def test_a_statistic_with_a_value_for_each_group(result) -> None:
    """Without some of the groups there are fewer, so that their skewness cannot be found."""
    modes = result.bootstrap(20, rng=1, statistic=lambda r: r.random_effects["Subject"]["Days"])
    assert modes.conf_int(kind="basic").shape == (18, 2)
    few = result.bootstrap(5, rng=1, statistic=lambda r: [1.0] * int(r.nobs // 10))
    with pytest.raises(FitError, match="without some of the groups, as intervals by 'bca'"):
        few.conf_int(kind="bca")


def test_a_fixed_effect_called_sigma(sleepstudy: pd.DataFrame) -> None:
    data = sleepstudy.rename(columns={"Days": "sigma"})
    boot = MixedLM.from_formula("Reaction ~ sigma + (1 | Subject)", data).fit().bootstrap(30, rng=1)
    low, high = boot.conf_int().iloc[-1]
    assert 7 < low < 10.467 < high < 14
    assert boot.summary_frame().shape == (4, 5)


def test_a_statistic_is_a_function(result) -> None:
    with pytest.raises(FitError, match="statistic='params' is no function"):
        result.bootstrap(3, statistic="params")


def test_a_statistic_that_cannot_be_computed_of_the_fit(result) -> None:
    with pytest.raises(FitError, match=r"raised AttributeError: .*'oops' for the fit itself"):
        result.bootstrap(3, statistic=lambda r: r.oops)
