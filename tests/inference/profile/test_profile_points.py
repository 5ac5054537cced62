"""Points of profiles against the likelihood computed densely; the restricted problems."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from places import DATA
from scipy.optimize import minimize
from scipy.stats import chi2

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import SingularFitWarning
from mixedlm_ext.inference.parameters import model_parameters
from mixedlm_ext.inference.profile import points as profile_points
from mixedlm_ext.inference.profile.path import Point, _lower_jumps
from mixedlm_ext.inference.profile.points import Refit
from mixedlm_ext.inference.profile.restricted import ColumnRemoved, TermReordered
from mixedlm_ext.linalg.triangular import lower_root

SLEEPSTUDY = datasets.sleepstudy.load_pandas().data
PENICILLIN = datasets.penicillin.load_pandas().data
MACHINES = datasets.machines.load_pandas().data


def fit(formula: str, data: pd.DataFrame, **kwargs: Any) -> Any:
    """Fit, singular or not."""
    weights = data.get("w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return MixedLM.from_formula(formula, data, weights=weights).fit(**kwargs)


def weighted_sleepstudy() -> pd.DataFrame:
    return pd.read_csv(DATA / "sleepstudy_weights.csv", dtype={"Subject": str})


# ---------------------------------------------------------------- the likelihood, densely


class Dense:
    """Minus twice the log-likelihood as a function of the parameters that a profile reports."""

    def __init__(self, result: Any) -> None:
        self.model, self.fixed_sigma = result.model, result.fit_record.fixed_sigma
        parameters = model_parameters(result.fit_record.design, self.fixed_sigma is None)
        self.names = [p.name for p in parameters]
        self.Z = [self._indicator(t) for t in self.model.random_terms]

    @staticmethod
    def _indicator(term: Any) -> np.ndarray:
        columns = np.eye(len(term.levels))[term.codes]
        return columns[:, :, None] * term.X[:, None, :]

    def __call__(self, values: np.ndarray) -> float:
        value = dict(zip(self.names, values))
        sigma = value.get("sigma", self.fixed_sigma)
        n = len(self.model.endog)
        w = np.ones(n) if self.model.weights is None else np.asarray(self.model.weights)
        V = np.diag(sigma**2 / w)
        for term, Z in zip(self.model.random_terms, self.Z):
            sd = np.array([value[f"sd({term.name}, {c})"] for c in term.columns])
            R = np.eye(len(sd))
            for i in range(len(sd)):
                for j in range(i + 1, len(sd)):
                    name = f"cor({term.name}, {term.columns[i]}, {term.columns[j]})"
                    R[i, j] = R[j, i] = np.nan_to_num(value.get(name, 0.0))
            V += (Z @ (sd[:, None] * R * sd)).reshape(n, -1) @ Z.reshape(n, -1).T
        beta = np.array([value[x] for x in self.model.exog_names])
        mean = np.asarray(self.model.exog) @ beta
        L = np.linalg.cholesky(2 * np.pi * V)
        z = np.linalg.solve(L, np.sqrt(2 * np.pi) * (np.asarray(self.model.endog) - mean))
        return float(2.0 * np.log(np.diag(L)).sum() + z @ z)


DENSE = {
    "one factor": ("Yield ~ 1 + (1 | Batch)", datasets.dyestuff.load_pandas().data),
    "variance zero": ("Yield ~ 1 + (1 | Batch)", datasets.dyestuff2.load_pandas().data),
    "correlated": ("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", SLEEPSTUDY),
    "weighted": ("Reaction ~ Days + (Days | Subject)", weighted_sleepstudy()),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", PENICILLIN),
    "nested": ("strength ~ 1 + (1 | batch/cask)", datasets.pastes.load_pandas().data),
    "three columns": ("score ~ Machine + (0 + Machine | Worker)", MACHINES),
    "singular": (
        "Q('yield') ~ nitro * Variety + (nitro | Block) + (1 | Block:Variety)",
        datasets.oats.load_pandas().data,
    ),
}


@pytest.fixture(scope="module", params=DENSE)
def dense(request: pytest.FixtureRequest) -> tuple[Any, Any, Dense]:
    result = fit(*DENSE[request.param], reml=False)
    return result, result.profile(), Dense(result)


def test_points_have_the_deviance_they_claim(dense: tuple[Any, Any, Dense]) -> None:
    result, profile, deviance = dense
    frame = profile.to_frame()
    for _, row in frame.iloc[:: max(1, len(frame) // 40)].iterrows():
        found = deviance(row[deviance.names].to_numpy(dtype=float))
        assert_allclose(found - result.objective, row["zeta"] ** 2, atol=2e-6)


def test_points_hold_the_parameter(dense: tuple[Any, Any, Dense]) -> None:
    _, profile, _ = dense
    for name, part in profile.to_frame().groupby("parameter"):
        held = part[name].to_numpy(dtype=float)
        defined = ~np.isnan(held)  # a correlation with a variance of zero is not
        assert_allclose(held[defined], part["value"][defined], rtol=1e-7, atol=1e-7)


def test_points_are_minima(dense: tuple[Any, Any, Dense]) -> None:
    """A search over the other parameters, by other means, finds nothing lower nearby."""
    _, profile, deviance = dense
    rng = np.random.default_rng(1)
    frame = profile.to_frame()
    for name in profile.names:
        part = frame[frame["parameter"] == name]
        row = part.iloc[rng.integers(len(part))]
        start = row[deviance.names].to_numpy(dtype=float)
        free = [i for i, n in enumerate(deviance.names) if n != name and not np.isnan(start[i])]

        def at(x: np.ndarray, start: np.ndarray = start, free: list[int] = free) -> float:
            values = start.copy()
            values[free] = x
            for i, n in enumerate(deviance.names):
                if n.startswith("cor(") and not abs(np.nan_to_num(values[i])) <= 1:
                    return np.inf
            try:
                return deviance(values)
            except np.linalg.LinAlgError:
                return np.inf

        x0 = start[free]
        steps = 1e-2 * np.maximum(np.abs(x0), 0.1) * rng.normal(size=(30, len(x0)))
        steps *= 10.0 ** -rng.integers(0, 4, size=(30, 1))
        assert min(at(x0 + s) for s in steps) > at(x0) - 1e-6, name


def test_limits_are_where_the_level_is(dense: tuple[Any, Any, Dense]) -> None:
    """The spline's limits, against a refit with the parameter held there."""
    result, profile, _ = dense
    top = profile_points.maximum(result.fit_record)
    z = np.sqrt(chi2.ppf(0.95, 1))
    for parameter in model_parameters(result.fit_record.design):
        path = profile.paths[parameter.name]
        held = profile_points.held(parameter, top)
        for side, limit in zip((-1, 1), profile.conf_int().loc[parameter.name]):
            reached = path.zeta[0] < -z if side < 0 else path.zeta[-1] > z
            if not reached:
                bounds = {"sd": (0.0, np.inf), "cor": (-1.0, 1.0)}
                assert limit == bounds[parameter.kind][side > 0]
                continue
            t = path.scale.forward(limit)
            x = held.start(top)
            for ahead in np.linspace(path.t[path.origin], t, 5)[1:]:
                refit = held.refit(ahead, x)
                x = refit.x
            assert_allclose(np.sqrt(refit.objective - top.objective), z, atol=5e-5)


def test_slopes_are_derivatives(dense: tuple[Any, Any, Dense]) -> None:
    """The recorded ∂ζ/∂t against a polynomial through neighbouring points."""
    _, profile, _ = dense
    for name, path in profile.paths.items():
        assert (np.diff(path.t) > 0).all()
        assert path.zeta[path.origin] == 0
        inner = slice(2, -2)
        ahead, behind = np.roll(path.t, -1) - path.t, path.t - np.roll(path.t, 1)
        rise, fall = np.roll(path.zeta, -1) - path.zeta, path.zeta - np.roll(path.zeta, 1)
        central = (rise / ahead * behind + fall / behind * ahead) / (ahead + behind)
        scale = np.abs(path.slope[inner]).max()
        assert_allclose(path.slope[inner], central[inner], atol=0.15 * scale, err_msg=name)


def test_fixed_sigma() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY, reml=False, sigma=30.0)
    profile = result.profile()
    assert "sigma" not in profile.names
    deviance = Dense(result)
    frame = profile.to_frame()
    for _, row in frame.iloc[::9].iterrows():
        found = deviance(row[deviance.names].to_numpy(dtype=float))
        assert_allclose(found - result.objective, row["zeta"] ** 2, atol=2e-6)
    only = fit("Yield ~ 1 + (1 | Batch)", datasets.dyestuff.load_pandas().data, sigma=50.0)
    assert len(only.profile().conf_int()) == 2


def test_minimize_is_the_global_one_here() -> None:
    """A held correlation against a search with another parametrization."""
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY, reml=False)
    profile = result.profile("cor(Subject, Intercept, Days)")
    deviance = Dense(result)
    for value in (-0.4, 0.6):
        start = profile.params.to_numpy().copy()
        start[2] = value
        free = [0, 1, 3, 4, 5]

        def at(x: np.ndarray, value: float = value, free: list[int] = free) -> float:
            values = np.empty(6)
            values[free] = np.append(np.exp(x[:3]), x[3:])
            values[2] = value
            return deviance(values)

        x0 = np.append(np.log(start[[0, 1, 3]]), start[[4, 5]])
        best = minimize(at, x0, method="Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-10})
        zeta = profile.zeta("cor(Subject, Intercept, Days)", value)
        assert_allclose(zeta**2, best.fun - result.objective, atol=1e-3)


# ---------------------------------------------------------------- restricted problems


def test_removed_column_is_the_model_without_it() -> None:
    data = SLEEPSTUDY.assign(x=np.random.default_rng(3).normal(size=len(SLEEPSTUDY)))
    whole = MixedLM.from_formula("Reaction ~ Days + x + (Days | Subject)", data)
    theta = whole.problem.covariance.standardize([0.9, 0.1, 0.3])
    for j, rest in enumerate(["0 + Days + x", "x", "Days"]):
        value = 3.7
        column = np.asarray(whole.exog)[:, j]
        moved = data.assign(Reaction=data["Reaction"] - value * column)
        other = MixedLM.from_formula(f"Reaction ~ {rest} + (Days | Subject)", moved)
        ours = GaussianCriterion(ColumnRemoved(whole.problem, j).at(value), False).at(theta)
        assert_allclose(ours.value, other.objective([0.9, 0.1, 0.3], reml=False), rtol=1e-12)


def test_only_column_removed() -> None:
    whole = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", datasets.dyestuff.load_pandas().data)
    problem = ColumnRemoved(whole.problem, 0).at(1500.0)
    data = datasets.dyestuff.load_pandas().data
    none = MixedLM.from_formula(
        "Yield ~ 0 + (1 | Batch)", data.assign(Yield=data["Yield"] - 1500.0)
    )
    theta = whole.problem.covariance.standardize([0.8])
    value = GaussianCriterion(problem, False).at(theta).value
    assert_allclose(value, none.objective([0.8], reml=False), rtol=1e-12)


def test_reordered_term_is_the_same_model() -> None:
    model = MixedLM.from_formula("score ~ Machine + (0 + Machine | Worker)", MACHINES)
    rng = np.random.default_rng(5)
    theta = model.problem.covariance.standardize(rng.normal(size=6))
    covariance = model.problem.covariance
    for first in ((1,), (2,), (2, 0), (1, 2)):
        turned = TermReordered.of(model.problem, 0, first)
        moved = turned.theta(theta, covariance)
        for reml in (True, False):
            one = GaussianCriterion(model.problem, reml).at(theta)
            two = GaussianCriterion(turned.problem, reml).at(moved)
            assert_allclose(two.value, one.value, rtol=1e-12)
        T = covariance.term_templates(covariance.unstandardize(theta))[0]
        own = turned.problem.covariance
        S = own.term_templates(own.unstandardize(moved))[0]
        assert_allclose(turned.random_cov([S @ S.T])[0], T @ T.T, rtol=1e-9, atol=1e-9)
        assert_allclose(abs(S[0, 0]), np.linalg.norm(T[first[0]]), rtol=1e-9)


def test_lower_root() -> None:
    T = np.random.default_rng(1).normal(size=(4, 4)) @ np.diag([1.0, 1.0, 0.0, 0.0])
    L = lower_root(T)
    assert_allclose(L @ L.T, T @ T.T, atol=1e-12)
    assert_allclose(L, np.tril(L), atol=0)
    assert (np.diag(L) >= 0).all()


class _TwoBranches:
    """A criterion t² from a start below 1, and t² + 9 from one above: two minima for each t."""

    def __init__(self, estimates: Any) -> None:
        self._estimates = estimates

    def refit(self, t: float, x: np.ndarray) -> Refit:
        return Refit(x, t * t + 9.0 * (x[0] > 1), 2 * t, self._estimates)


def test_a_jump_outwards_is_searched_from_inside() -> None:
    held = _TwoBranches(None)
    good, bad = np.zeros(1), np.full(1, 2.0)
    places = [(0.0, good), (0.5, good), (1.0, good), (1.5, bad), (2.0, bad)]
    points = []
    for t, x in places:
        refit = held.refit(t, x)
        zeta = np.sqrt(refit.objective)
        points.append(Point(t, zeta, refit.slope / (2 * zeta) if zeta else np.nan, refit))
    mended = _lower_jumps(held, points, points[0])
    assert [p.zeta for p in mended] == [0.0, 0.5, 1.0, 1.5, 2.0]
    mirrored = [Point(-p.t, -p.zeta, p.slope, p.refit) for p in points[::-1]]
    mended = _lower_jumps(held, mirrored, mirrored[-1])
    assert [p.zeta for p in mended] == [-2.0, -1.5, -1.0, -0.5, 0.0]
