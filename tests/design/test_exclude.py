"""missing="exclude": values for the rows are aligned with all rows of the data (R: na.exclude)."""

from __future__ import annotations

import pickle
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from simulation import quietly

import mixedlm_ext.formula.api as smf
from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, DesignWarning

FORMULA = "Reaction ~ Days + (Days | Subject)"


@lru_cache
def holes() -> pd.DataFrame:
    data = datasets.sleepstudy.load_pandas().data.copy()
    data.loc[2, "Reaction"] = np.nan
    data.loc[9, "Days"] = np.nan
    return data.set_axis([f"r{i}" for i in range(180)])


def fit(data: Any = None, **arguments: Any) -> Any:
    data = holes() if data is None else data
    return quietly(MixedLM.from_formula(FORMULA, data, missing="exclude", **arguments))


def test_as_r() -> None:
    r, dropped = fit(), quietly(MixedLM.from_formula(FORMULA, holes()))
    # lme4 1.1-31 with na.action = na.exclude
    fitted = [266.3186365, 282.8774885, np.nan, 315.9951924]
    assert_allclose(r.fittedvalues[:4], fitted, rtol=2e-6)
    resid = [-16.758636547, -24.172788484, np.nan, 5.444607643]
    assert_allclose(r.resid[:4], resid, atol=5e-4)  # of 300
    assert np.flatnonzero(r.fittedvalues.isna()).tolist() == [2, 9]
    assert_array_equal(r.params, dropped.params)
    assert (r.nobs, len(r.model.endog), len(r.fittedvalues)) == (178, 178, 180)


def test_everything_for_the_rows_is_aligned() -> None:
    r, dropped = fit(), quietly(MixedLM.from_formula(FORMULA, holes()))
    index = holes().index
    pairs = [
        (r.fittedvalues, dropped.fittedvalues), (r.resid, dropped.resid),
        (r.predict(), dropped.predict()), (r.leverage(), dropped.leverage()),
        (r.predict(which="population"), dropped.predict(which="population")),
        (r.predict(random_only=True), dropped.predict(random_only=True)),
        *((r.residuals(k), dropped.residuals(k)) for k in ("pearson", "scaled", "normalized")),
        (r.get_prediction().summary_frame()["obs_ci_upper"],
         dropped.get_prediction().summary_frame()["obs_ci_upper"]),
        (pd.Series(r.get_prediction().df, index),
         pd.Series(dropped.get_prediction().df, dropped.fittedvalues.index)),
    ]  # fmt: skip
    for ours, theirs in pairs:
        assert ours.index.equals(index)
        pd.testing.assert_series_equal(ours.dropna(), theirs, check_names=False)
        assert np.flatnonzero(ours.isna()).tolist() == [2, 9]
    assert holes().assign(fitted=r.fittedvalues)["fitted"].notna().sum() == 178
    pd.testing.assert_frame_equal(r.augment(), dropped.augment())
    assert len(r.get_influence().summary_frame()) == 178
    assert str(r.summary()).splitlines()[6:] == str(dropped.summary()).splitlines()[6:]


def test_subsets_zero_weights_and_copies() -> None:
    data = holes().assign(w=np.where(np.arange(180) == 20, 0.0, 1.0))
    used = data["Subject"] != "308"
    with pytest.warns(DesignWarning, match="1 of 170 rows have zero weight"):
        model = MixedLM.from_formula(FORMULA, data, missing="exclude", subset=used, weights="w")
    r = quietly(model)
    for other in (r, pickle.loads(pickle.dumps(r)), r.with_ddf("normal"), r.refit_ml()):
        values = other.fittedvalues
        assert values.index.equals(data.index)
        assert np.flatnonzero(values.isna()).tolist() == [*range(10), 20]
    again = r.refit(data["Reaction"].fillna(0.0)[r.model.data.row_labels])
    assert_allclose(again.fittedvalues, r.fittedvalues)
    assert r.simulate(2, rng=1).shape == (169, 2)


def test_other_containers() -> None:
    expected = fit().fittedvalues.to_numpy()
    for data in (pl.from_pandas(holes()), {name: holes()[name].to_numpy() for name in holes()}):
        assert_allclose(fit(data).fittedvalues, expected)
        assert list(fit(data).fittedvalues.index) == list(range(180))
    r = smf.mixedlm(FORMULA, holes(), missing="exclude").fit()
    assert_allclose(r.fittedvalues, expected)
    whole = holes().dropna()
    assert fit(whole).fittedvalues.index.equals(whole.index)


def test_arrays() -> None:
    X = np.column_stack([np.ones(180), holes()["Days"]])
    y, g = holes()["Reaction"], holes()["Subject"]
    for endog in (y, y.to_numpy()):
        r = quietly(MixedLM(endog, X, [RandomTerm(g.to_numpy(), X)], missing="exclude"))
        assert_allclose(r.fittedvalues, fit().fittedvalues, rtol=1e-5)
        assert_allclose(r.resid, fit().resid, rtol=1e-4, atol=1e-3)
        assert_allclose(r.predict(), fit().fittedvalues, rtol=1e-5)
        assert isinstance(r.fittedvalues, pd.Series if endog is y else np.ndarray)


def test_after_remove_data_and_wrong_words() -> None:
    r = fit()
    new = holes().head(3)
    before = r.predict(new)
    r.remove_data()
    assert_array_equal(r.predict(new), before)
    with pytest.raises(DesignError, match=r"missing='exclud' is not .* Did you mean 'exclude'"):
        MixedLM.from_formula(FORMULA, holes(), missing="exclud")
    with pytest.raises(DesignError, match="rows have missing values"):
        MixedLM.from_formula(FORMULA, holes(), missing="raise")
