"""Correlations that fall with the distance of places, in time and in space.

Reference numbers are from R, by dense algebra that shares nothing with this package; glmmTMB 1.1.5
and nlme 3.1-162 (gls with corExp and a nugget) find the same optima, to 6e-11.
"""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import oracle
import pandas as pd
import pytest
import scipy.stats as sps
import statsmodels.api as sm
from numpy.testing import assert_allclose
from places import DATA
from scipy.optimize import minimize
from simulation import quietly

from mixedlm_ext import MixedGLM, MixedLM, MixedLMResults, Predictor, RandomTerm
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.structures import Positions, structure_of
from mixedlm_ext.structures.exp import Exponential

HERE = DATA / "structured"
SPACE = "y ~ x + exp(0 + position(east, north) | all)"
TIME = "y ~ t + exp(0 + position(t) | id)"


def spatial() -> pd.DataFrame:
    return pd.read_csv(HERE / "spatial.csv").assign(all="all")


def ou(subjects: int = 25) -> pd.DataFrame:
    data = pd.read_csv(HERE / "ou.csv")
    return data[data["id"].isin(sorted(data["id"].unique())[:subjects])]


@pytest.fixture(scope="module")
def in_space() -> MixedLMResults:
    return MixedLM.from_formula(SPACE, spatial()).fit()


@pytest.fixture(scope="module")
def few() -> MixedLMResults:
    """Six subjects, each seen at eight times of its own."""
    return MixedLM.from_formula(TIME, ou(6)).fit(reml=False)


def dense(result: MixedLMResults) -> dict[str, object]:
    design = result.model.design
    terms = [
        oracle.Term(
            t.X, t.codes, len(t.levels), t.structure,
            None if t.positions is None else t.positions.coordinates,
        )
        for t in design.terms
    ]  # fmt: skip
    return {"y": design.y, "X": design.X, "terms": terms}


# ------------------------------------------------------------------------------ reference numbers


@pytest.mark.parametrize(
    ("reml", "objective", "components", "se"),
    [
        (True, 368.486635942556, [1.762641461, 1.950080283, 1.010542574], [0.6235243, 0.1315371]),
        (False, 366.966265134023, [1.656824034, 1.608645344, 0.99787287], [0.5231085, 0.1309368]),
    ],
)  # fmt: skip
def test_space(reml: bool, objective: float, components: list[float], se: list[float]) -> None:
    """All rows belong to one group."""
    result = MixedLM.from_formula(SPACE, spatial()).fit(reml=reml)
    assert_allclose(result.objective, objective, atol=1e-6)
    assert result.converged
    frame = result.varcorr()
    found = [frame["std_dev"][0], frame["range"][1], frame["std_dev"][2]]
    assert_allclose(found, components, rtol=1e-4)
    assert_allclose(result.bse, se, rtol=1e-4)
    assert result.aic == pytest.approx(objective + 10, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reml", "objective", "sd", "rate"),
    [(True, 862.793984188728, 2.4023951538, 0.2468642497),
     (False, 859.531106266381, 2.3574227017, 0.2563533580)],
)  # fmt: skip
def test_time(reml: bool, objective: float, sd: float, rate: float) -> None:
    """25 subjects at 185 different times."""
    result = MixedLM.from_formula(TIME, ou()).fit(reml=reml)
    assert_allclose(result.objective, objective, atol=1e-6)
    frame = result.varcorr()
    assert_allclose([frame["std_dev"][0], 1 / frame["range"][1]], [sd, rate], rtol=1e-4)
    if reml:
        new = pd.DataFrame({"id": "i01", "t": [3.5, 20.0]})
        assert_allclose(result.predict(new), [5.03426168739266, 11.0929161474281], rtol=1e-5)
        modes = result.fit_record.b[0][0]
        places = result.model.design.terms[0].positions.coordinates[:, 0]
        own = modes[np.searchsorted(places, ou()["t"][:3])]
        assert_allclose(own, [-1.46934596659356, -0.930037143055712, -1.36168909408564], rtol=1e-4)


def test_on_whole_numbers_it_is_ar1() -> None:
    """Of equal distances with a positive correlation, a gap among them."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(np.arange(30), 5), "t": np.tile([1, 2, 4, 5, 6], 30)})
    root = np.linalg.cholesky(0.7 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6))))
    data["y"] = (rng.standard_normal((30, 6)) @ root.T)[:, [0, 1, 3, 4, 5]].ravel()
    data["y"] += 0.5 * rng.standard_normal(150)
    one = MixedLM.from_formula("y ~ 1 + exp(0 + position(t) | g)", data).fit()
    two = MixedLM.from_formula("y ~ 1 + ar1(0 + C(t, levels=range(1, 7)) | g)", data).fit()
    assert_allclose(one.objective, two.objective, atol=1e-7)
    rho = two.varcorr()["corr_1"][1]
    assert_allclose(one.varcorr()["range"][1], -1 / np.log(rho), rtol=1e-4)
    # the unit of time is free, and so is where it starts
    years = MixedLM.from_formula("y ~ 1 + exp(0 + position(2000 + t / 365) | g)", data).fit()
    assert_allclose(years.objective, one.objective, atol=1e-7)
    assert_allclose(365 * years.varcorr()["range"][1], one.varcorr()["range"][1], rtol=1e-4)


def test_own_variances() -> None:
    """Below every point of a dense search."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.repeat(np.arange(40), 3), "t": np.tile([0.0, 1.0, 3.0], 40)})
    effects = rng.standard_normal((40, 3)) @ np.linalg.cholesky(
        np.exp(-np.abs(np.subtract.outer([0, 1, 3], [0, 1, 3])) / 2.0)
    ).T * [1.0, 3.0, 0.5]  # fmt: skip
    data = pd.concat([data, data])
    data["y"] = np.tile(effects.ravel(), 2) + 0.4 * rng.standard_normal(240)
    result = MixedLM.from_formula("y ~ 1 + exp(0 + position(t) | g, hom=False)", data).fit()
    assert list(result.varcorr()["name"])[:2] == ["position(t)[0]", "position(t)[1]"]
    inputs = dense(result)
    assert_allclose(oracle.objective(**inputs, theta=result.theta, reml=True), result.objective)
    best = minimize(
        lambda x: oracle.objective(**inputs, theta=np.abs(x), reml=True), result.theta * 1.1,
        method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxfev": 3000},
    )  # fmt: skip
    assert result.objective < best.fun + 1e-6
    with pytest.raises(DesignError, match=r"variance for each place.*\n?.*hom=True"):
        result.predict({"g": [1], "t": [2.0]})
    with pytest.raises(DesignError, match="variance for each place"):
        result.to_predictor()


# ----------------------------------------------------------------------------- places not seen


def augmented(result: MixedLMResults, new: np.ndarray) -> dict[str, object]:
    """The dense model with columns of zeros for more places."""
    inputs = dense(result)
    (term,) = inputs["terms"]
    places = np.vstack([term.positions, new])
    X = np.column_stack([term.X, np.zeros((len(term.X), len(new)))])
    return {**inputs, "terms": [oracle.Term(X, term.codes, term.levels, "exp", places)]}


def test_kriging(in_space: MixedLMResults) -> None:
    new = pd.DataFrame({"x": 0.0, "east": [5.0, 4.35, 5.0], "north": [5.0, 4.91, 5.0]})
    new["all"] = ["all", "all", "elsewhere"]
    assert_allclose(in_space.predict(new)[0], 9.04821867672967, rtol=1e-7)
    # the same from dense algebra, with standard errors
    inputs = augmented(in_space, np.array([[5.0, 5.0]]))
    (term,) = inputs["terms"]
    distances = np.sqrt(((term.positions[:, None] - term.positions) ** 2).sum(axis=2))
    span = in_space.varcorr()["range"][1]
    unit = np.median(distances[:-1, :-1][np.triu_indices(len(term.positions) - 1, 1)])
    again = np.median(distances[np.triu_indices(len(term.positions), 1)])
    assert_allclose(in_space.theta[1], span / (span + unit), rtol=1e-10)
    theta = [in_space.theta[0], span / (span + again)]
    found = oracle.estimates(**inputs, theta=theta)
    k = len(term.positions)
    c = np.zeros(2 + k)
    c[[0, -1]] = 1.0
    prediction = in_space.get_prediction(new)
    assert_allclose(prediction.predicted_mean[0], found.beta[0] + found.b[0][0, -1], rtol=1e-8)
    assert_allclose(prediction.se_mean[0] ** 2, c @ found.joint_cov @ c, rtol=1e-6)
    seen = np.flatnonzero((term.positions == [4.35, 4.91]).all(axis=1))[0]
    c = np.zeros(2 + k)
    c[[0, 2 + seen]] = 1.0
    assert_allclose(prediction.se_mean[1] ** 2, c @ found.joint_cov @ c, rtol=1e-6)
    fresh = found.cov_beta[0, 0] + in_space.fit_record.random_cov[0][0, 0]
    assert_allclose(prediction.se_mean[2] ** 2, fresh, rtol=1e-6)
    assert np.isfinite(prediction.df).all()


def test_errors_have_the_degrees_of_freedom_of_the_larger_model(few: MixedLMResults) -> None:
    """Satterthwaite's, by differences of the error variance at a place without a row."""
    result = few.model.fit()
    new = pd.DataFrame({"id": ["i02"], "t": [5.5]})
    x = np.append(result.theta, np.log(result.sigma))
    inputs = augmented(result, np.array([[5.5]]))
    k = len(inputs["terms"][0].positions)
    unit = result.model.design.terms[0].positions.unit
    again = Positions.of(inputs["terms"][0].positions).unit

    def variance(x: np.ndarray) -> float:
        span = unit * x[1] / (1 - x[1])
        theta = [x[0], span / (span + again)]
        found = oracle.estimates(**inputs, theta=theta, sigma=float(np.exp(x[2])))
        c = np.zeros(2 + 6 * k)
        c[[0, 1, 2 + 2 * k - 1]] = 1.0, 5.5, 1.0
        return float(c @ found.joint_cov @ c)

    steps = 1e-5 * np.eye(3)
    g = np.array([(variance(x + h) - variance(x - h)) / 2e-5 for h in steps])
    plain = dense(result)

    def deviance(x: np.ndarray) -> float:
        return oracle.objective(**plain, theta=x[:2], reml=True, sigma=float(np.exp(x[2])))

    h = 1e-3
    H = np.array(
        [
            [
                sum(s * t * deviance(x + h * (s * a + t * b)) for s in (1, -1) for t in (1, -1))
                / (4 * h * h)
                for b in np.eye(3)
            ]
            for a in np.eye(3)
        ]
    )
    expected = 2 * variance(x) ** 2 / (g @ np.linalg.solve(H / 2, g))
    assert_allclose(result.get_prediction(new).df, expected, rtol=1e-3)


def test_predictor_and_pickle(few: MixedLMResults, tmp_path) -> None:
    new = pd.DataFrame({"id": ["i01", "i02", "i02", "nobody"], "t": [0.49, 5.5, 100.0, 1.0]})
    expected = few.predict(new)
    predictor = few.to_predictor()
    predictor.save(tmp_path / "p.json")
    assert_allclose(predictor.predict(new), expected)
    assert_allclose(Predictor.load(tmp_path / "p.json").predict(new), expected)
    copy = pickle.loads(pickle.dumps(few))
    assert_allclose(copy.predict(new), expected)
    copy.remove_data()
    assert_allclose(copy.predict(new), expected)
    assert_allclose(few.predict(new, terms="id"), expected)
    assert_allclose(few.predict(new, terms="(0 + position(t) | id)"), expected)
    at_rows = few.fittedvalues
    assert_allclose(few.predict(ou(6)), at_rows)


def test_simulation_at_new_places(few: MixedLMResults) -> None:
    """Responses of one subject, near and far, have the covariance of the model."""
    new = pd.DataFrame({"id": "i01", "t": [0.49, 0.6, 50.0]})
    draws = few.simulate(4000, rng=1, exog=new).to_numpy()
    span = few.varcorr()["range"][1]
    distances = np.abs(np.subtract.outer(new["t"].to_numpy(), new["t"].to_numpy()))
    V = few.fit_record.random_cov[0][0, 0] * np.exp(-distances / span) + few.scale * np.eye(3)
    assert_allclose(np.cov(draws), V, atol=0.12 * V.max())
    kept = few.simulate(4000, rng=1, exog=new, conditional=True).to_numpy()
    assert_allclose(kept.mean(axis=1), few.predict(new), atol=0.1)
    assert_allclose(np.cov(kept), few.scale * np.eye(3), atol=0.12 * few.scale)


# ---------------------------------------------------------------------------- the rest of the house


def test_profile(few: MixedLMResults) -> None:
    profile = few.profile("theta")
    names = ["sd(id, position(t))", "range(id)", "sigma"]
    assert list(profile.conf_int().index) == names
    inputs = dense(few)
    unit = few.model.design.terms[0].positions.unit

    def held(span: float) -> float:
        def value(x: np.ndarray) -> float:
            return oracle.objective(**inputs, theta=[abs(x[0]), span / (span + unit)], reml=False)

        return float(minimize(value, [few.theta[0]], method="Nelder-Mead").fun)

    for end in profile.conf_int().loc["range(id)"]:
        assert_allclose(held(end) - few.objective, 3.841459, rtol=1e-3)
    assert few.profile("range(id)").conf_int().index.tolist() == ["range(id)"]


def test_a_range_that_data_do_not_bound() -> None:
    """Independent places: the likelihood is flat towards a range of zero."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(12), 10), "t": np.tile(np.arange(5.0), 24)})
    data["y"] = np.repeat(rng.standard_normal((12, 5)), 2, axis=0).ravel()
    data["y"] += 0.5 * rng.standard_normal(120)
    result = quietly(MixedLM.from_formula("y ~ 1 + exp(0 + position(t) | g)", data), reml=False)
    low, high = result.profile("range(g)").conf_int().loc["range(g)"]
    assert low == 0.0
    assert 0.0 < high < 2.0


def test_an_endless_range_is_an_intercept() -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"g": np.repeat(np.arange(15), 4), "t": np.tile(np.arange(4.0), 15)})
    data["y"] = np.repeat(2 * rng.standard_normal(15), 4) + rng.standard_normal(60)
    model = MixedLM.from_formula("y ~ 1 + exp(0 + position(t) | g)", data)
    result = quietly(model)
    plain = MixedLM.from_formula("y ~ 1 + (1 | g)", data).fit()
    assert result.objective <= plain.objective + 1e-7
    at_end = -2 * model.loglike([plain.theta[0], 1.0], reml=True)
    assert_allclose(at_end, plain.objective)
    if result.theta[1] == 1.0:
        assert result.singular
        assert np.isinf(result.varcorr()["range"][1])


def test_nested_models() -> None:
    data = ou(6)
    one = MixedLM.from_formula(TIME, data).fit(reml=False)
    both = MixedLM.from_formula("y ~ t + (1 | id) + exp(0 + position(t) | id)", data)
    both = quietly(both, reml=False)
    assert both.compare_lr_test(one)[2] == 1
    kind, other = structure_of("exp", 3), structure_of("homcs", 3)
    assert kind.contains(structure_of("iid", 3))
    assert not kind.contains(other)
    apart = Exponential(3, "exp", True, Positions.of(np.array([[0.0], [1.0], [5.0]])))
    assert not kind.contains(apart)


def test_arrays(in_space: MixedLMResults) -> None:
    data, (term,) = spatial(), in_space.model.random
    X = np.column_stack([np.ones(len(data)), data["x"]])
    again = MixedLM(data["y"], X, [term]).fit()
    assert_allclose(again.objective, in_space.objective)
    places = term.positions
    good = {"groups": data["all"], "exog": term.exog, "structure": "exp"}
    for positions, message in (
        (None, "no positions. Pass positions="),
        (places[:-1], "one row of coordinates"),
        (np.where(places > 9, np.nan, places), "missing or infinite"),
        (np.zeros_like(places), "the same position"),
        ("somewhere", "must be numbers"),
    ):
        with pytest.raises(DesignError, match=message):
            MixedLM(data["y"], X, [RandomTerm(**good, positions=positions)])
    with pytest.raises(DesignError, match="does not use"):
        MixedLM(data["y"], X, [RandomTerm(data["place"], positions=[1.0])])


def test_what_users_see(in_space: MixedLMResults) -> None:
    text = in_space.summary().as_text()
    assert "exp range" in text
    assert "1.950" in text
    tidy = in_space.tidy("ran_pars").set_index("term")["estimate"]
    assert tidy.index.tolist() == ["sd__position(east, north)", "range", "sd__Observation"]
    assert_allclose(tidy["range"], 1.950080283, rtol=1e-4)
    boot = in_space.bootstrap(5, rng=1)
    assert "range(all)" in boot.conf_int().index
    assert "all rows are in one group" not in str(in_space.check())


@pytest.mark.parametrize(
    ("random", "message"),
    [
        ("exp(t | id)", r"needs the positions.*\n.*exp\(0 \+ position\(t\) \| id\)"),
        ("exp(position(t) | id)", "nothing else before the bar"),
        ("exp(0 + position(t) + t | id)", "nothing else before the bar"),
        ("exp(0 + position(t) || id)", "would undo"),
        ("ar1(0 + position(t) | id)", "knows no distances"),
        ("(0 + position(t) | id)", "knows no distances"),
        ("exp(0 + position(t) | id, het=True)", "takes hom= only"),
    ],
)
def test_misspelled(random: str, message: str) -> None:
    with pytest.raises(FormulaError, match=r"(?s)" + message):
        MixedLM.from_formula(f"y ~ t + {random}", ou(3))


def test_batches_know_no_places(tmp_path) -> None:
    spatial().to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(FormulaError, match="places of all rows"):
        MixedLM.from_formula(SPACE, str(tmp_path / "s.csv"))


def test_counts_in_space() -> None:
    """A generalized model: the mode is where the gradient of its dense Laplace approximation is."""
    data = spatial()
    data["z"] = np.random.default_rng(1).poisson(np.exp(0.3 * (data["y"] - 8)))
    formula = SPACE.replace("y ~", "z ~")
    result = MixedGLM.from_formula(formula, data, family=sm.families.Poisson()).fit()
    (term,) = result.model.design.terms
    covariance = oracle.gamma("exp", len(term.columns), result.theta, term.positions.coordinates)
    X, Z, z = result.model.design.X, term.X, data["z"].to_numpy(float)
    b = np.zeros(Z.shape[1])
    inverse = np.linalg.inv(covariance)
    for _ in range(50):
        mu = np.exp(X @ result.params.to_numpy() + Z @ b)
        H = Z.T @ (mu[:, None] * Z) + inverse
        b += np.linalg.solve(H, Z.T @ (z - mu) - inverse @ b)
    mu = np.exp(X @ result.params.to_numpy() + Z @ b)
    value = -2 * sps.poisson.logpmf(z, mu).sum() + b @ inverse @ b
    value += np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(H)[1]
    assert_allclose(-2 * result.llf, value, rtol=1e-8)
    assert_allclose(result.fit_record.b[0][0], b, atol=1e-5)


def test_bad_positions() -> None:
    data = ou(3).assign(name="a", same=1.0, day=pd.Timestamp("2020-01-01"))
    for what, message in (
        ("name", "no number"),
        ("day", "is a date, no number"),
        ("same", "one position in the data"),
    ):
        with pytest.raises((DesignError, FormulaError), match=message):
            MixedLM.from_formula(f"y ~ t + exp(0 + position({what}) | id)", data)
    with pytest.raises(FormulaError, match=r"position\(\) belongs in exp"):
        MixedLM.from_formula("y ~ position(t) + (1 | id)", data)


def test_a_predictor_of_an_endless_range(few: MixedLMResults, tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = few.model.fit(start_params=[1.0, 1.0], maxiter=1)
    assert result.theta[1] == 1.0
    new = pd.DataFrame({"id": ["i01", "i02"], "t": [0.49, 77.0]})
    predictor = result.to_predictor()
    predictor.save(tmp_path / "p.json")
    assert_allclose(Predictor.load(tmp_path / "p.json").predict(new), result.predict(new))
