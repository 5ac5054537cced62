"""Places that a fit has not seen, of levels whose covariance is known, against dense algebra."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from simulation import quietly

from mixedlm_ext import MixedLM

NAMES = np.array([f"a{i:02}" for i in range(12)])


def relationships() -> pd.DataFrame:
    L = np.tril(np.random.default_rng(1).normal(size=(12, 12))) + 2.0 * np.eye(12)
    return pd.DataFrame(L @ L.T / 8.0, NAMES, NAMES)


def frame() -> pd.DataFrame:
    """Return five ages of animals, of which the last two have no rows."""
    rng = np.random.default_rng(2)
    n = 120
    data = pd.DataFrame({"animal": rng.choice(NAMES[:10], n), "age": rng.integers(0, 5, n) * 1.5})
    effect = np.linalg.cholesky(relationships().to_numpy()) @ rng.normal(size=(12, 5))
    effect = effect @ np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(range(5), range(5)))).T
    own = NAMES.searchsorted(data["animal"]), (data["age"] / 1.5).astype(int)
    data["y"] = 1.0 + 0.3 * data["age"] + 1.5 * effect[own] + rng.normal(size=n)
    return data


@pytest.mark.parametrize("known", ["cov=A", "prec=P"])
def test_they_are_predicted_through_relatives_and_through_ages(known: str) -> None:
    data, A = frame(), relationships()
    inverse = sparse.csc_array(np.linalg.inv(A.to_numpy()))
    model = MixedLM.from_formula(
        f"y ~ age + exp(0 + position(age) | gr(animal, {known}))",
        data,
        eval_env={"A": A, "P": (inverse, NAMES)},
    )
    result = quietly(model)
    table = result.tidy().set_index("term")["estimate"]
    new = pd.DataFrame({"animal": ["a00", "a04", "a11", "a11"], "age": [0.7, 8.0, 1.5, 2.2]})

    def between(one: pd.DataFrame, two: pd.DataFrame) -> np.ndarray:
        apart = np.abs(np.subtract.outer(one["age"].to_numpy(), two["age"].to_numpy()))
        kin = A.loc[one["animal"], two["animal"]].to_numpy()
        return table["sd__position(age)"] ** 2 * kin * np.exp(-apart / table["range"])

    X, x = (np.column_stack([np.ones(len(d)), d["age"]]) for d in (data, new))
    W = np.linalg.inv(between(data, data) + result.scale * np.eye(len(data)))
    cov = np.linalg.inv(X.T @ W @ X)
    beta = cov @ X.T @ W @ data["y"]
    c = between(new, data)
    mean = x @ beta + c @ W @ (data["y"] - X @ beta)
    a = x - c @ W @ X
    errors = np.diag(between(new, new) - c @ W @ c.T + a @ cov @ a.T)
    found = result.get_prediction(new)
    assert_allclose(result.predict(new), mean, atol=1e-6)
    assert_allclose(found.predicted_mean, mean, atol=1e-6)
    assert_allclose(found.se_mean, np.sqrt(errors), rtol=1e-5)
    assert_allclose(result.to_predictor().predict(new), mean, atol=1e-6)
    draws = np.asarray(result.simulate(4000, rng=1, exog=new))
    V = between(new, new) + result.scale * np.eye(4)
    spread = np.cov(draws if draws.shape[0] == 4 else draws.T)
    error = np.sqrt((V**2 + np.outer(np.diag(V), np.diag(V))) / 4000)
    assert (np.abs(spread - V) < 4.5 * error).all()
