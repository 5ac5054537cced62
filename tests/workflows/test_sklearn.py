"""`MixedLMRegressor`: scikit-learn's own checks, routing of groups, the numbers of the model."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from packaging.version import Version

from mixedlm_ext import DesignError, MixedLM, datasets

pytest.importorskip("sklearn")

import sklearn
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from mixedlm_ext.sklearn import MixedLMRegressor

FORMULA = "Reaction ~ Days + (Days | Subject)"


class ThreeGroups(MixedLMRegressor):
    """scikit-learn's checks pass no groups: here the rows are dealt out to three."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> MixedLMRegressor:
        return super().fit(X, y, np.arange(np.asarray(y).size) % 3 if groups is None else groups)


DOES_NOT_APPLY = dict.fromkeys(
    ("check_fit_score_takes_y", "check_regressors_no_decision_function", "check_supervised_y_2d"),
    "the response is reproduced exactly, which is refused for want of a residual variance",
)


@pytest.mark.filterwarnings("ignore")
def test_checks_of_scikit_learn() -> None:
    found = check_estimator(
        ThreeGroups(), expected_failed_checks=DOES_NOT_APPLY, on_fail=None, on_skip=None
    )
    failed = {
        check["check_name"]: check["exception"] for check in found if check["status"] == "failed"
    }
    assert failed == {}
    assert sum(check["status"] == "passed" for check in found) > 40


@pytest.fixture
def data() -> pd.DataFrame:
    return datasets.sleepstudy.load_pandas().data


@pytest.fixture
def fitted(data: pd.DataFrame) -> MixedLMRegressor:
    return MixedLMRegressor(slopes=["Days"]).fit(
        data[["Days"]], data["Reaction"], groups=data["Subject"]
    )


def test_numbers_are_those_of_the_model(data: pd.DataFrame, fitted: MixedLMRegressor) -> None:
    result = MixedLM.from_formula(FORMULA, data).fit()
    assert_allclose([fitted.intercept_, *fitted.coef_], result.params, rtol=1e-6)
    assert_allclose(fitted.predict(data[["Days"]], data["Subject"]), result.fittedvalues, rtol=1e-6)
    population = result.predict(data, which="population")
    assert_allclose(fitted.predict(data[["Days"]]), population, rtol=1e-6)
    assert fitted.result_.n_groups == {"groups": 18}


def test_without_slopes_the_groups_have_intercepts(data: pd.DataFrame) -> None:
    found = MixedLMRegressor(reml=False).fit(data[["Days"]], data["Reaction"], data["Subject"])
    model = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data)
    assert_allclose(found.result_.objective, model.fit(reml=False).objective)


def test_slopes_by_position(data: pd.DataFrame, fitted: MixedLMRegressor) -> None:
    X = data[["Days"]].to_numpy()
    found = MixedLMRegressor(slopes=[0]).fit(X, data["Reaction"], data["Subject"])
    assert_allclose(found.coef_, fitted.coef_)


def test_formula_with_its_own_groups(data: pd.DataFrame) -> None:
    X = data[["Days", "Subject"]]
    found = MixedLMRegressor("Days + (Days | Subject)").fit(X, data["Reaction"])
    result = MixedLM.from_formula(FORMULA, data).fit()
    assert_allclose(found.predict(X), result.fittedvalues, rtol=1e-6)
    assert_allclose([found.intercept_, *found.coef_], result.params, rtol=1e-6)


def test_formula_with_groups_as_metadata(data: pd.DataFrame) -> None:
    X = data[["Days"]]
    found = MixedLMRegressor("Days + (Days | groups)").fit(X, data["Reaction"], data["Subject"])
    result = MixedLM.from_formula(FORMULA, data).fit()
    assert_allclose(found.predict(X, data["Subject"]), result.fittedvalues, rtol=1e-6)
    assert_allclose(found.predict(X), result.predict(data, which="population"), rtol=1e-6)


def test_residuals_with_a_structure(data: pd.DataFrame) -> None:
    data = data.assign(w=np.linspace(1, 2, len(data)))
    X, y = data[["Days", "w"]], data["Reaction"]
    structure: dict[str, Any] = {"correlation": "ar1(Days | groups)", "variance": "power(w)"}
    regressor = MixedLMRegressor("Days + (1 | groups)", **structure)
    regressor.fit(X, y, groups=data["Subject"])
    model = MixedLM.from_formula(
        "Reaction ~ Days + (1 | Subject)", data, correlation="ar1(Days | Subject)",
        variance="power(w)",
    )  # fmt: skip
    result = model.fit()
    assert_allclose(regressor.result_.objective, result.objective, atol=1e-6)
    assert_allclose(regressor.predict(X, groups=data["Subject"]), result.fittedvalues, rtol=1e-4)
    with pytest.raises(DesignError, match="which is what a formula is for"):
        MixedLMRegressor(correlation="ar1(Days | groups)").fit(X, y, groups=data["Subject"])


def test_score_uses_the_groups(data: pd.DataFrame, fitted: MixedLMRegressor) -> None:
    X, y = data[["Days"]], data["Reaction"]
    r2 = 1 - np.sum((y - fitted.predict(X, data["Subject"])) ** 2) / np.sum((y - y.mean()) ** 2)
    assert_allclose(fitted.score(X, y, groups=data["Subject"]), r2)
    assert fitted.score(X, y) < r2 - 0.2


@pytest.mark.parametrize("new_levels", ["population", "nan"])
def test_new_levels(data: pd.DataFrame, new_levels: str) -> None:
    found = MixedLMRegressor(new_levels=new_levels).fit(
        data[["Days"]], data["Reaction"], data["Subject"]
    )
    values = found.predict(data[["Days"]].head(2), groups=["308", "new"])
    assert np.isnan(values[1]) == (new_levels == "nan")


@pytest.mark.parametrize(
    "estimator",
    [
        MixedLMRegressor(slopes=["Days"]),
        pytest.param(
            make_pipeline(StandardScaler(), MixedLMRegressor(slopes=[0])),
            marks=pytest.mark.skipif(
                Version(sklearn.__version__) < Version("1.8"),
                reason="score() of a pipeline is not given groups",
            ),
        ),
    ],
)
def test_groups_are_routed(data: pd.DataFrame, estimator: Any) -> None:
    X, y = data[["Days"]], data["Reaction"]
    folds = KFold(4, shuffle=True, random_state=0)
    with config_context(enable_metadata_routing=True):
        scores = cross_val_score(estimator, X, y, cv=folds, params={"groups": data["Subject"]})
        grid = GridSearchCV(MixedLMRegressor(), {"slopes": [None, ["Days"]]}, cv=folds)
        grid.fit(X, y, groups=data["Subject"])
    by_hand = []
    for train, test in folds.split(X):
        fit = MixedLM.from_formula(FORMULA, data.iloc[train]).fit()
        left = y.iloc[test] - fit.predict(data.iloc[test])
        by_hand.append(1 - np.sum(left**2) / np.sum((y.iloc[test] - y.iloc[test].mean()) ** 2))
    assert_allclose(scores, by_hand, rtol=1e-5)
    assert grid.best_params_ == {"slopes": ["Days"]}


def test_clone_and_pickle(data: pd.DataFrame, fitted: MixedLMRegressor) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    X = data[["Days"]].head(3)
    assert_allclose(again.predict(X), fitted.predict(X))
    assert clone(fitted).get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        clone(fitted).predict(X)


def test_errors(data: pd.DataFrame, fitted: MixedLMRegressor) -> None:
    X, y = data[["Days"]], data["Reaction"]
    with pytest.raises(DesignError, match=r"needs groups: fit\(X, y, groups=\.\.\.\)"):
        MixedLMRegressor().fit(X, y)
    with pytest.raises(DesignError, match="slopes has 'Dys'; X has the columns Days"):
        MixedLMRegressor(slopes=["Dys"]).fit(X, y, data["Subject"])
    with pytest.raises(DesignError, match="slopes has 1; X has the columns Days"):
        MixedLMRegressor(slopes=[1]).fit(X, y, data["Subject"])
    with pytest.raises(DesignError, match="exclude each other"):
        MixedLMRegressor("Days + (1 | groups)", slopes=["Days"]).fit(X, y, data["Subject"])
    with pytest.raises(DesignError, match="X is ndarray; a formula names columns"):
        MixedLMRegressor("Days + (1 | groups)").fit(X.to_numpy(), y, data["Subject"])
    with pytest.raises(DesignError, match="has a column 'groups'"):
        MixedLMRegressor("Days + (1 | groups)").fit(X.assign(groups=1), y, data["Subject"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.predict(X, groups=data["Subject"].head(3))
