"""Places that a fit has not seen, beside residuals with a structure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import DesignError

FORMULA = "y ~ 1 + exp(0 + position(t) | g)"


def data(groups: int = 12, times: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    t = np.arange(float(times))
    root = np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(t, t)) / 4.0))
    y = 2.0 * rng.normal(size=(groups, times)) @ root.T + rng.normal(size=(groups, times))
    return pd.DataFrame(
        {
            "y": y.ravel(),
            "g": np.repeat(np.arange(groups), times),
            "t": np.tile(t, groups),
            "o": np.tile(np.arange(times), groups),
            "f": np.tile([f"f{i % 3}" for i in range(times)], groups),
            "two": np.tile([f"k{i % 2}" for i in range(times)], groups),
        }
    )


NEW = pd.DataFrame({"g": [0, 1, 1, 5], "t": [2.5, 9.0, 3.0, 0.0], "o": [0, 0, 1, 2]})


@pytest.mark.parametrize("correlation", ["ar1(o | g)", "cs(1 | g)"])
def test_places_of_the_fit_are_predicted_as_without_others(correlation: str) -> None:
    model = MixedLM.from_formula(FORMULA, data(), correlation=correlation)
    result = model.fit(ddf="normal")
    both, seen = (result.get_prediction(rows) for rows in (NEW, NEW.iloc[2:]))
    assert_allclose(both.predicted_mean[2:], seen.predicted_mean, rtol=1e-10)
    assert_allclose(both.se_mean[2:], seen.se_mean, rtol=1e-10)
    assert (both.se_mean[:2] > seen.se_mean.min()).all()
    assert_allclose(result.predict(NEW), both.predicted_mean, rtol=1e-12)
    own = model.fit()
    both, seen = (own.get_prediction(rows) for rows in (NEW, NEW.iloc[2:]))
    assert_allclose(both.df[2:], seen.df, rtol=1e-6)
    assert_allclose(both.df_obs[2:], seen.df_obs, rtol=1e-6)


# --- against the dense model ----------------------------------------------------------------------


def few(seed: int = 3) -> pd.DataFrame:
    """Return rows of a process in time, residuals that are alike from row to row, two sexes."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"g": np.repeat(np.arange(8), 9), "o": np.tile(np.arange(9), 8)})
    frame["t"] = np.tile(np.arange(9) * 1.5, 8)
    frame["sex"] = np.where(frame["g"] % 2, "f", "m")
    apart = np.abs(np.subtract.outer(frame["t"][:9].to_numpy(), frame["t"][:9].to_numpy()))
    slow = np.linalg.cholesky(np.exp(-apart / 6.0))
    quick = np.linalg.cholesky(0.45 ** (apart / 1.5))
    z = rng.normal(size=(2, 8, 9))
    sd = np.where(frame["sex"] == "f", 1.6, 1.0)
    y = 1.5 * (z[0] @ slow.T).ravel() + sd * (z[1] @ quick.T).ravel()
    return frame.assign(y=y + 0.1 * frame["t"])


class Dense:
    """The dense model in ψ = (log s, log range, log σ, log σ_2, ρ), or less of it."""

    def __init__(self, frame: pd.DataFrame, correlated: bool, strata: bool) -> None:
        self.frame, self.correlated, self.strata = frame, correlated, strata
        self.X = np.column_stack([np.ones(len(frame)), frame["t"]])

    def covariance(
        self, psi: np.ndarray, one: pd.DataFrame, two: pd.DataFrame
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the covariances of the process and of residuals of rows."""
        g, h = one["g"].to_numpy(), two["g"].to_numpy()
        same = np.equal.outer(g, h)
        t = np.abs(np.subtract.outer(one["t"].to_numpy(), two["t"].to_numpy()))
        G = same * np.exp(2.0 * psi[0] - t / np.exp(psi[1]))
        sd = [np.exp(psi[2] + (psi[3] * (f["sex"] == "m") if self.strata else 0.0))
              * np.ones(len(f)) for f in (one, two)]  # fmt: skip
        lag = np.abs(np.subtract.outer(one["o"].to_numpy(), two["o"].to_numpy()))
        R = same * (psi[-1] ** lag if self.correlated else (lag == 0.0))
        return G, np.outer(*sd) * R

    def criterion(self, psi: np.ndarray) -> float:
        """Return minus twice the restricted log-likelihood, but for a constant."""
        V = sum(self.covariance(psi, self.frame, self.frame))
        W = np.linalg.inv(V)
        XWX = self.X.T @ W @ self.X
        y = self.frame["y"].to_numpy()
        e = y - self.X @ np.linalg.solve(XWX, self.X.T @ W @ y)
        return float(np.linalg.slogdet(V)[1] + np.linalg.slogdet(XWX)[1] + e @ W @ e)

    def variances(self, psi: np.ndarray, new: pd.DataFrame, errors: bool) -> np.ndarray:
        """Return the error variances of predicted means, and of new observations, (2, m).

        With `errors` those of x'β̂ + z'b̂ + ê less the new observation, and of ê apart from it.
        """
        G, R = self.covariance(psi, self.frame, self.frame)
        c, r = self.covariance(psi, self.frame, new)
        x = np.column_stack([np.ones(len(new)), new["t"]])
        own, residual = (np.diag(part) for part in self.covariance(psi, new, new))

        def variance(c: np.ndarray, own: np.ndarray) -> np.ndarray:
            W = np.linalg.inv(G + R)
            a = x - c.T @ W @ self.X
            beta = a @ np.linalg.inv(self.X.T @ W @ self.X)
            return own - np.einsum("nm,nk,km->m", c, W, c) + np.einsum("mp,mp->m", beta, a)

        if not errors:
            return np.array([variance(c, own), variance(c, own) + residual])
        left = residual - np.einsum("nm,nk,km->m", r, np.linalg.inv(R), r)
        obs = variance(c + r, own + residual)
        return np.array([obs - left, obs])

    def degrees(self, psi: np.ndarray, new: pd.DataFrame, errors: bool) -> np.ndarray:
        """Return 2f²/(g'Ag) by differences, (2, m)."""
        E = 1e-4 * np.eye(len(psi))
        H = [[(self.criterion(psi + a + b) - self.criterion(psi + a - b)
               - self.criterion(psi - a + b) + self.criterion(psi - a - b)) / 4e-8
              for a in E] for b in E]  # fmt: skip
        g = [
            (self.variances(psi + e, new, errors) - self.variances(psi - e, new, errors)) / 2e-4
            for e in E
        ]
        A = 2.0 * np.linalg.inv(np.array(H))
        return 2.0 * self.variances(psi, new, errors) ** 2 / np.einsum("jom,jk,kom->om", g, A, g)


STRUCTURES = {
    "correlated": {"correlation": "ar1(o | g)"},
    "strata": {"variance": "sex"},
    "both": {"correlation": "ar1(o | g)", "variance": "sex"},
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_degrees_of_freedom_at_new_places_are_those_of_the_dense_model(name: str) -> None:
    frame = few()
    given = STRUCTURES[name]
    model = MixedLM.from_formula("y ~ t + exp(0 + position(t) | g)", frame, **given)
    result = model.fit(tol=1e-12)
    new = pd.DataFrame({"g": [0, 3, 7, 4], "t": [2.0, 14.0, 3.0, 12.5], "o": [20, 9, 40, 10]})
    new["sex"] = np.where(new["g"] % 2, "f", "m")
    table = result.tidy()
    told = dict(zip(table["term"], table["estimate"]))
    strata = "variance" in given
    first, *others = ([told["sd__f"], told["sd__m"] / told["sd__f"]] if strata
                      else [told["sd__Observation"]])  # fmt: skip
    logs = np.log([told["sd__position(t)"], told["range"], first, *others])
    psi = np.append(logs, told["cor__rho"]) if "correlation" in given else logs
    dense = Dense(frame, "correlation" in given, strata)
    for errors in (False, *([True] if "correlation" in given else [])):
        found = result.get_prediction(new, errors=errors)
        mean, obs = dense.variances(psi, new, errors)
        assert_allclose(found.se_mean**2, mean, rtol=1e-5)
        assert_allclose(found.se_obs**2, obs, rtol=1e-5)
        of_mean, of_obs = dense.degrees(psi, new, errors)
        assert_allclose(found.df, of_mean, rtol=2e-3)
        assert_allclose(found.df_obs, of_obs, rtol=2e-3)


@pytest.mark.parametrize("term", ["(t | g)", "us(0 + f | g)", "cs(0 + f | g, hom=True)",
                                  "toep(0 + f | g, hom=True)", "ar1(0 + two | g)"])  # fmt: skip
def test_terms_that_hold_an_intercept_are_refused_beside_equal_correlations(term: str) -> None:
    model = MixedLM.from_formula(f"y ~ 1 + {term}", data(), correlation="cs(1 | g)")
    with pytest.raises(DesignError, match="both say that rows of one g are alike"):
        model.fit()


@pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
@pytest.mark.parametrize("term", ["exp(0 + position(t) | g)", "ar1(0 + f | g)", "diag(0 + f | g)"])
def test_terms_that_hold_none_are_fitted_beside_them(term: str) -> None:
    model = MixedLM.from_formula(f"y ~ 1 + {term}", data(), correlation="cs(1 | g)")
    assert np.isfinite(model.fit().llf)
