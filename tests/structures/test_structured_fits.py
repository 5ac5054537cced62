"""Models with covariance structures, from the formula to the tables, against reference numbers.

The numbers were computed with R 4.2.2 from the dense covariance matrix of the textbook, by code
that shares nothing with lme4, nlme or glmmTMB, and polished by Newton's method (gradient 1e-10).
glmmTMB 1.1.5, nlme 3.1-162 or lme4 1.1-31 find the same optimum, to 6e-8, of all but the two with
``hom=False`` in ar1.
"""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from places import DATA
from scipy.optimize import minimize
from simulation import quietly
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM, MixedLMResults, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, FitError, FormulaError, SingularFitWarning

HERE = DATA / "structured"

SLEEP = "Reaction ~ Days + "
# formula, REML criterion, -2 log-likelihood, standard deviations and correlations and sigma (REML),
# standard errors of the first two fixed effects (REML)
REFERENCE = {
    "sleepstudy: cs(Days | Subject)": (
        1743.62827195849, 1751.9393444632, [24.7404515, 5.9221331, 0.0655513, 25.5918156],
        [6.8245565, 1.5457889],
    ),
    "sleepstudy: cs(Days | Subject, hom=True)": (
        1757.77430787171, 1765.47775845567, [7.2276563, 0.5925396, 27.8347414],
        [4.215631, 1.8503784],
    ),
    "sleepstudy: diag(Days | Subject, hom=True)": (
        1759.14989955178, 1767.2122793598, [8.898746, 27.3744718], [4.3337057, 2.2144833],
    ),
    "sleepstudy: ar1(0 + C(Days) | Subject)": (
        1734.1864679415, 1743.06186557443, [47.3404947, 0.8834993, 15.1304449],
        [11.3653252, 1.5176208],
    ),
    "sleepstudy: ar1(0 + C(Days) | Subject, hom=False)": (
        1702.18895177737, 1710.41561871838,
        [35.0970735, 35.5854115, 28.5200029, 35.3235511, 38.5541237, 52.8825517, 68.3503015,
         53.9388425, 60.2595623, 64.973169, 0.8169071, 3.7558107],
        [7.3275364, 1.621495],
    ),
    "sleepstudy: (1 | Subject) + ar1(0 + C(Days) | Subject)": (
        1734.01229894171, 1742.81308872988, [23.2848704, 41.4343915, 0.8347098, 14.3280505],
        [11.2760833, 1.4467185],
    ),
    "machines: cs(0 + Machine | Worker)": (
        209.220442314339, 217.498594928114, [4.1144872, 8.4197444, 4.4618029, 0.7357102, 0.9621486],
        [1.6949721, 2.4987976],
    ),
    "machines: cs(0 + Machine | Worker, hom=True)": (
        215.687568008221, 225.269446939773, [6.0636541, 0.6216957, 0.9615766],
        [2.4858302, 2.1769755],
    ),
    "machines: ar1(0 + Machine | Worker)": (
        216.239110782436, 225.930613199596, [5.7322093, 0.5383894, 0.9616146],
        [2.3511152, 2.2712653],
    ),
    "machines: ar1(0 + Machine | Worker, hom=False)": (
        208.335178350612, 216.446900268316, [4.0455409, 8.6252896, 4.4267396, 0.786832, 0.9615595],
        [1.6670633, 2.4653278],
    ),
    "machines: toep(0 + Machine | Worker)": (
        208.334856531368, 216.446628130515,
        [4.0459582, 8.6252917, 4.4262686, 0.7868046, 0.6222791, 0.9615526], [1.6672319, 2.4653156],
    ),
    "machines: toep(0 + Machine | Worker, hom=True)": (
        215.161137867279, 224.637730770643, [6.4506071, 0.6158553, 0.812964, 0.9615766],
        [2.6431844, 2.3304218],
    ),
    "machines: diag(0 + Machine | Worker, hom=True)": (
        221.25559004957, 231.951073389392, [6.0636541, 0.9615766], [2.4858302, 3.5154948],
    ),
    "machines: diag(Machine | Worker)": (
        212.234411739277, 221.113197210224, [4.0742535, 5.8893521, 3.6470838, 0.9622767],
        [1.6786999, 2.4256197],
    ),
    "oats: cs(0 + Variety | Block, hom=True)": (
        593.041753315231, 604.229007918835, [18.2078841, 0.6347102, 12.8669534],
        [6.945283, 6.7814799],
    ),
    "oats: (1 | Block) + diag(0 + Variety | Block, hom=True)": (
        593.041753315231, 604.229007918835, [14.5059854, 11.0047005, 12.8669534],
        [6.945283, 6.7814799],
    ),
    "ar1_gap: ar1(0 + C(time, levels=range(1, 9)) | id)": (
        874.606383071931, 870.296918005296, [1.597242, 0.6494843, 1.0198358],
        [0.2046431, 0.0909234],
    ),
    "spatial: exp(0 + position(east, north) | region)": (
        368.486635942556, 366.966265134023, [1.762641461, np.nan, 1.010542574],
        [0.6235243, 0.1315371],
    ),
    "ar1_gap: ar1(0 + C(time) | id)": (
        879.077963, 874.783572, [1.58659121657023, 0.59643432202995, 1.034502459009], None,
    ),
}  # fmt: skip
FIXED = {
    "sleepstudy": SLEEP,
    "machines": "score ~ Machine + ",
    "oats": "yield ~ nitro + ",
    "ar1_gap": "y ~ x + ",
    "spatial": "y ~ x + ",
}


def read(name: str) -> pd.DataFrame:
    path = HERE / f"{name}.csv"
    data = pd.read_csv(path) if path.exists() else getattr(datasets, name).load_pandas().data
    return data.assign(region="all") if name == "spatial" else data


def fitted(case: str, **options: object) -> MixedLMResults:
    name, random = case.split(": ")
    return MixedLM.from_formula(FIXED[name] + random, read(name)).fit(**options)


@pytest.mark.parametrize("case", REFERENCE)
def test_reference(case: str) -> None:
    reml, ml, components, se = REFERENCE[case]
    result = fitted(case)
    assert_allclose(result.objective, reml, atol=1e-6)
    assert result.objective < reml + 1e-6
    assert result.converged
    assert result.optimization.evaluations <= 40
    frame = result.varcorr()
    if not case.endswith("cs(Days | Subject)"):
        shown = np.where(frame["std_dev"].isna(), frame.get("corr_1", np.nan), frame["std_dev"])
        assert_allclose(shown, components, rtol=1e-4)
    if se is not None:
        assert_allclose(result.bse[:2], se, rtol=1e-4)
    assert len(result.theta) == len(components) - 1
    assert_allclose(fitted(case, reml=False).objective, ml, atol=1e-6)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_three_structures(reml: bool) -> None:
    """The reference search ended at local minima, 792.0869 and 788.2298; dose b does not vary."""
    data = read("mixed_terms")
    model = MixedLM.from_formula(
        "y ~ time + (1 | site) + ar1(0 + C(time) | id) + cs(0 + dose | site)", data
    )
    result = quietly(model, reml=reml)
    assert_allclose(result.objective, 791.866256 if reml else 788.031158, atol=1e-5)
    design = model.design
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]
    dense = oracle.objective(design.y, design.X, terms, result.theta, reml=reml)
    assert_allclose(result.objective, dense, atol=1e-8)
    assert result.singular
    assert result.fit_record.singular_terms == (False, False, True)
    assert result.theta[4] == 0.0


def test_equal_models() -> None:
    """A positive common correlation is an intercept beside independent effects."""
    machines = read("machines")
    apart = MixedLM.from_formula(
        "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", machines
    ).fit()
    together = fitted("machines: cs(0 + Machine | Worker, hom=True)")
    assert_allclose(together.objective, apart.objective, atol=1e-8)
    sd, rho = together.varcorr()["std_dev"].iloc[0], together.varcorr()["corr_1"].iloc[1]
    assert_allclose([sd**2 * rho, sd**2 * (1 - rho)], apart.varcorr()["variance"][:2], rtol=1e-4)
    assert_allclose(together.bse, apart.bse, rtol=1e-6)
    assert_allclose(together.df_resid_inference, apart.df_resid_inference, rtol=1e-4)


def test_order_matters_where_it_should() -> None:
    machines = read("machines")
    other = machines["Machine"].astype(str).map({"A": "b", "B": "a", "C": "c"})
    for random, same in (("cs(0 + m | Worker)", True), ("ar1(0 + m | Worker)", False)):
        one, two = (
            MixedLM.from_formula("score ~ m + " + random, machines.assign(m=m)).fit().objective
            for m in (machines["Machine"], other)
        )
        assert bool(np.isclose(one, two, atol=1e-6)) is same


# ------------------------------------------------------------------------------------- boundaries


def repeated(effects: np.ndarray, seed: int) -> pd.DataFrame:
    """Two observations of each of the random effects (g, k), three times as large as the noise."""
    g, k = effects.shape
    G, F = np.repeat(np.arange(g), 2 * k), np.tile(np.repeat(np.arange(k), 2), g)
    noise = np.random.default_rng(seed).standard_normal(len(G))
    return pd.DataFrame({"g": G, "f": [f"l{i}" for i in F], "y": 3 * effects[G, F] + noise})


def at_boundary(kind: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    b = rng.standard_normal((12, 4))
    effects = {
        "alike": np.repeat(b[:, :1], 4, axis=1),
        "summing to zero": b - b.mean(axis=1, keepdims=True),
        "alternating": b[:, :1] * (-1.0) ** np.arange(4),
        "one constant": b[:, :1] * np.array([1.0, 0.0, 1.0, 1.0]),
        "nothing": 0 * b,
    }
    return repeated(effects[kind], seed)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("random", ["cs(0 + f | g)", "cs(0 + f | g, hom=True)",
                                    "ar1(0 + f | g)", "ar1(0 + f | g, hom=False)",
                                    "toep(0 + f | g)", "toep(0 + f | g, hom=True)"])  # fmt: skip
@pytest.mark.parametrize(
    "kind", ["alike", "summing to zero", "alternating", "one constant", "nothing"]
)
def test_boundary_optima(kind: str, random: str, seed: int) -> None:
    """The search ends in the domain, below random starts, and singular where it is at an end."""
    model = MixedLM.from_formula("y ~ f + " + random, at_boundary(kind, seed))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = model.fit()
    assert result.converged
    structure = model.design.terms[0].kind
    low, high = structure.domain
    assert ((result.theta >= low) & (result.theta <= high)).all()
    on_end = (result.theta <= low + 1e-6) | (result.theta >= high - 1e-6)
    assert result.singular == on_end.any()
    assert [w.category for w in caught] == [SingularFitWarning] * int(on_end.any())
    assert np.isfinite(result.df_resid_inference).all()
    assert np.isfinite(result.bse).all()
    if kind != "nothing":
        rng = np.random.default_rng(9)
        for _ in range(3):
            n_rho = int(np.isfinite(high).sum())
            start = np.append(rng.uniform(0.2, 3, len(low) - n_rho), rng.uniform(-0.3, 0.9, n_rho))
            other = quietly(model, start_params=start)
            assert result.objective < other.objective + 1e-6
    slope, inside = model.score(result.theta), ~on_end
    assert_allclose(slope[inside], 0.0, atol=1e-3)
    assert (slope[on_end & (result.theta <= low + 1e-6)] > -1e-3).all()
    assert (slope[on_end & (result.theta >= high - 1e-6)] < 1e-3).all()


def test_summary_says_that_it_is_singular() -> None:
    result = quietly(
        MixedLM.from_formula("y ~ f + cs(0 + f | g)", at_boundary("summing to zero", 1))
    )
    assert result.theta[-1] == pytest.approx(-1 / 3)
    assert "is singular" in result.summary().as_text()
    said = " ".join(str(result.check()).split())
    assert "f[l3] is estimated to be the same for every level" in said
    assert "with another structure" in said


@pytest.mark.parametrize("method", ["bobyqa", "nelder-mead", "powell", "bfgs", "lbfgs"])
def test_other_optimizers_stay_in_the_domain(method: str) -> None:
    model = MixedLM.from_formula("y ~ f + cs(0 + f | g)", at_boundary("summing to zero", 1))
    best = quietly(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some stop short of an optimum at the boundary
        other = model.fit(method=method)
    assert other.objective > best.objective - 1e-6
    assert other.theta[-1] >= -1 / 3
    assert other.objective < best.objective + 1.0


# ------------------------------------------------------------------------- inference and the rest


def dense_df(result: MixedLMResults, contrast: np.ndarray, held: int | None = None) -> float:
    """Satterthwaite's degrees of freedom from numerical derivatives of dense algebra.

    `held` is a theta that is no parameter.
    """
    design = result.model.design
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]
    x = np.append(result.theta, np.log(result.sigma))

    def deviance(x: np.ndarray) -> float:
        return oracle.objective(
            design.y, design.X, terms, x[:-1], design.weights, reml=True, sigma=float(np.exp(x[-1]))
        )

    def variance(x: np.ndarray) -> float:
        found = oracle.estimates(
            design.y, design.X, terms, x[:-1], design.weights, sigma=float(np.exp(x[-1]))
        )
        return float(contrast @ found.cov_beta @ contrast)

    h, eye = 1e-3, np.eye(len(x))
    eye = eye if held is None else np.delete(eye, held, axis=0)
    H = np.array(
        [
            [
                sum(
                    s * t * deviance(x + h * (s * a + t * b)) for s in (1, -1) for t in (1, -1)
                ) / (4 * h * h)
                for b in eye
            ]
            for a in eye
        ]
    )  # fmt: skip
    g = np.array([(variance(x + h * a) - variance(x - h * a)) / (2 * h) for a in eye])
    return 2 * variance(x) ** 2 / float(g @ np.linalg.solve(H / 2, g))


@pytest.mark.parametrize(
    "case", ["machines: cs(0 + Machine | Worker)", "machines: ar1(0 + Machine | Worker)"]
)
def test_satterthwaite(case: str) -> None:
    result = fitted(case)
    for j, df in enumerate(result.df_resid_inference):
        assert_allclose(df, dense_df(result, np.eye(3)[j]), rtol=1e-3)


def test_satterthwaite_holds_a_correlation_at_its_end() -> None:
    data = at_boundary("summing to zero", 1)
    result = quietly(MixedLM.from_formula("y ~ f + cs(0 + f | g, hom=True)", data))
    assert result.theta[1] == pytest.approx(-1 / 3)
    for j in range(2):
        expected = dense_df(result, np.eye(4)[j], held=1)
        assert_allclose(result.df_resid_inference[j], expected, rtol=1e-3)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("random", ["toep(0 + C(Days) | Subject)"])
def test_a_structure_that_takes_over_the_residuals(random: str, reml: bool) -> None:
    """One row for each day and subject: variances of their own and any correlations by lag."""
    model = MixedLM.from_formula(SLEEP + random, read("sleepstudy"))
    with pytest.warns(ConvergenceWarning, match="one row for each level and column"):
        result = model.fit(reml=reml)
    assert result.optimization.verdict == "no minimum"


@pytest.mark.parametrize("random", ["ar1(0 + f | g, hom=False)", "ar1(0 + f | g)", "cs(0 + f | g)"])
@pytest.mark.parametrize("seed", [3, 9])
def test_pure_noise(random: str, seed: int) -> None:
    """The criterion has several minima; no random start leads to a lower one."""
    rng = np.random.default_rng(seed)
    G, F = np.repeat(np.arange(12), 8), np.tile(np.repeat(np.arange(4), 2), 12)
    data = pd.DataFrame({"g": G, "f": [f"l{i}" for i in F], "y": rng.standard_normal(96)})
    model = MixedLM.from_formula("y ~ f + " + random, data)
    result = quietly(model)
    assert result.optimization.evaluations <= 60
    low, high = model.problem.covariance.domain
    bounded = np.isfinite(high)
    for _ in range(5):
        start = rng.uniform(0.05, 1.2, len(low))
        share = rng.uniform(0.1, 0.9, bounded.sum())
        start[bounded] = (low + (high - low) * 1.0)[bounded] * share
        start[bounded] += low[bounded] * (1 - share)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = model.fit(start_params=start)
        assert result.objective < other.objective + 1e-5


def test_tables_name_the_parameters() -> None:
    result = fitted("machines: cs(0 + Machine | Worker)")
    frame = result.varcorr()
    assert frame["name"].tolist() == ["Machine[A]", "Machine[B]", "Machine[C]", "cs rho", ""]
    assert frame.columns.tolist() == ["group", "name", "variance", "std_dev", "corr_1"]
    assert "cs rho" in result.summary().as_text()
    assert len(result.vcomp) == 3
    assert result.tidy("ran_pars")["term"].tolist() == [
        "sd__Machine[A]", "sd__Machine[B]", "sd__Machine[C]", "cor__rho", "sd__Observation",
    ]  # fmt: skip
    table = fitted("sleepstudy: ar1(0 + C(Days) | Subject)").summary().as_text()
    assert "ar1 rho" in table
    assert "nan" not in table
    assert max(map(len, table.splitlines())) == 78


def test_profile() -> None:
    """Limits where the deviance has risen by a chi-squared quantile, each parameter held."""
    result = fitted("machines: ar1(0 + Machine | Worker)", reml=False)
    intervals = result.profile(which="theta").conf_int()
    names = ["sd(Worker, Machine[A], Machine[B], Machine[C])", "cor(Worker, rho)", "sigma"]
    assert intervals.index.tolist() == names
    design = result.model.design
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]

    def held(sd: float, rho: float, sigma: float) -> float:
        theta = np.array([sd / sigma, rho])
        return oracle.objective(design.y, design.X, terms, theta, reml=False, sigma=sigma)

    for side in (0, 1):
        rho = intervals.loc[names[1], side]
        sd = intervals.loc[names[0], side]
        at_rho = minimize(lambda x, r=rho: held(*x[:1], r, x[1]), [5.0, 1.0], method="Nelder-Mead")
        at_sd = minimize(
            lambda x, s=sd: held(s, np.tanh(x[0]), x[1]), [0.5, 1.0], method="Nelder-Mead"
        )
        for found in (at_rho, at_sd):
            assert_allclose(found.fun - result.objective, 3.841459, atol=2e-3)


def test_profile_ends_with_the_range() -> None:
    result = quietly(
        MixedLM.from_formula("y ~ f + cs(0 + f | g)", at_boundary("summing to zero", 1)), reml=False
    )
    low, high = result.profile(which="cor(g, rho)").conf_int().loc["cor(g, rho)"]
    assert low == pytest.approx(-1 / 3)
    assert -1 / 3 < high < 0


def test_simulations_have_the_covariance() -> None:
    result = fitted("machines: ar1(0 + Machine | Worker)")
    Y = np.asarray(result.simulate(n=6000, rng=1))
    design = result.model.design
    residual = Y - (design.X @ result.params.to_numpy())[:, None]
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]
    V = result.sigma**2 * oracle.covariance(terms, result.theta, None)
    assert_allclose(residual @ residual.T / Y.shape[1], V, atol=0.06 * V.max())


def test_covariances_of_a_simulation_keep_the_structure() -> None:
    model = MixedLM.from_formula("score ~ Machine + cs(0 + Machine | Worker)", read("machines"))
    cov = np.array([[4.0, 1.0, 1.5], [1.0, 1.0, 0.75], [1.5, 0.75, 2.25]])
    beta = [50.0, 8.0, 14.0]
    assert len(model.simulate(beta=beta, covariances=[cov], sigma=1.0, rng=1)) == 54
    cov[0, 1] = cov[1, 0] = 0.2
    with pytest.raises(FitError, match=r"is none of cs\(0 \+ Machine"):
        model.simulate(beta=beta, covariances=[cov], sigma=1.0, rng=1)


def test_the_rest_of_the_house() -> None:
    result = fitted("machines: cs(0 + Machine | Worker)")
    data = read("machines")
    again = pickle.loads(pickle.dumps(result))
    assert again.objective == result.objective
    assert_allclose(again.predict(data.head()), result.fittedvalues[:5])
    assert_allclose(result.to_predictor().predict(data.head()), result.fittedvalues[:5])
    refit = result.refit(2 * result.model.endog)
    assert_allclose(refit.theta, result.theta, rtol=1e-4)
    assert_allclose(refit.sigma, 2 * result.sigma, rtol=1e-6)
    shorter = result.update(". ~ . - Machine")
    assert shorter.model.formula_full == "score ~ 1 + cs(0 + Machine | Worker)"
    gone = result.update(". ~ . - cs(0 + Machine | Worker) + (1 | Worker)")
    assert gone.model.formula_full == "score ~ Machine + (1 | Worker)"
    assert result.model.fit(start_params=result.theta).optimization.evaluations <= 2
    many = result.model.fit_many(np.column_stack([result.model.endog, 3 * result.model.endog]))
    assert_allclose(many.theta, np.tile(result.theta, (2, 1)), rtol=1e-4)
    draws = result.bootstrap(n=10, rng=1)
    assert "cor(Worker, rho)" in draws.conf_int().index
    everything = result.all_fit()
    assert np.ptp(everything["objective"]) < 1e-5


def test_toeplitz_in_the_rest_of_the_house() -> None:
    result = fitted("machines: toep(0 + Machine | Worker)")
    assert result.varcorr()["name"].tolist()[3:5] == ["toep rho_1", "toep rho_2"]
    assert_allclose(result.varcorr()["corr_1"][3:5], [0.7868046, 0.6222791], atol=1e-6)
    assert result.tidy("ran_pars")["term"].tolist()[3:5] == ["cor__rho_1", "cor__rho_2"]
    for j, df in enumerate(result.df_resid_inference):
        assert_allclose(df, dense_df(result, np.eye(3)[j]), rtol=1e-3)
    again = pickle.loads(pickle.dumps(result))
    assert_allclose(again.predict(read("machines").head()), result.fittedvalues[:5])
    assert_allclose(result.refit(2 * result.model.endog).sigma, 2 * result.sigma, rtol=1e-6)
    draws = result.bootstrap(n=5, rng=1).conf_int()
    assert {"cor(Worker, rho_1)", "cor(Worker, rho_2)"} <= set(draws.index)
    shorter = result.update(". ~ . - Machine")
    assert shorter.model.formula_full == "score ~ 1 + toep(0 + Machine | Worker)"
    ml = [fitted(f"machines: {w}(0 + Machine | Worker)", reml=False) for w in ("cs", "toep")]
    assert ml[0].compare(ml[1])["Pr(>Chisq)"].notna().sum() == 1
    Y = np.asarray(result.simulate(n=6000, rng=1))
    design = result.model.design
    residual = Y - (design.X @ result.params.to_numpy())[:, None]
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]
    V = result.sigma**2 * oracle.covariance(terms, result.theta, None)
    assert_allclose(residual @ residual.T / Y.shape[1], V, atol=0.06 * V.max())


def test_profiles_of_a_toeplitz_correlation() -> None:
    """Lag 1 is held as any correlation; what the fit cannot hold is refused before it starts."""
    result = fitted("machines: toep(0 + Machine | Worker, hom=True)", reml=False)
    with pytest.raises(FitError, match=r"(?s)no profile .* cor\(Worker, rho_2\).*bootstrap.*rho_1"):
        result.profile()
    high = result.profile("cor(Worker, rho_1)").conf_int().loc["cor(Worker, rho_1)", 1]
    design = result.model.design
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]

    def held(x: np.ndarray) -> float:
        theta = np.array([x[0], high, np.tanh(x[1])])
        return oracle.objective(
            design.y, design.X, terms, theta, reml=False, sigma=float(np.exp(x[2]))
        )

    found = minimize(held, [5.0, 0.5, 0.0], method="Nelder-Mead", options={"maxfev": 2000})
    assert_allclose(found.fun - result.objective, 3.841459, atol=2e-3)


def test_nested_models() -> None:
    order = ["diag(0 + Machine | Worker)", "cs(0 + Machine | Worker)", "(0 + Machine | Worker)"]
    models = [fitted("machines: " + random, reml=False) for random in order]
    table = models[0].compare(*models[1:])
    assert table["Pr(>Chisq)"].notna().tolist() == [False, True, True]
    other = fitted("machines: ar1(0 + Machine | Worker, hom=False)", reml=False)
    apart = models[1].compare(other)
    assert apart["Pr(>Chisq)"].isna().all()
    one = fitted("machines: ar1(0 + Machine | Worker)", reml=False)
    assert other.compare(one)["Pr(>Chisq)"].notna().sum() == 1


def test_random_term_by_arrays() -> None:
    data = read("machines")
    X = pd.get_dummies(data["Machine"], dtype=float)
    fixed = np.column_stack([np.ones(54), X["B"], X["C"]])
    model = MixedLM(data["score"], fixed, [RandomTerm(data["Worker"], X, structure="cs")])
    assert_allclose(model.fit().objective, 209.220442314339, atol=1e-6)
    assert model.random_terms[0].structure == "cs"
    with pytest.raises(DesignError, match="structure"):
        MixedLM(data["score"], fixed, [RandomTerm(data["Worker"], X, structure="csh")])


# ------------------------------------------------------------------------------------- bad formulas


@pytest.mark.parametrize(
    ("random", "message"),
    [
        ("cs(Days || Subject)", r"'\|\|' would undo the structure of cs\(\)"),
        ("cs(Days | Subject, het=True)", r"takes hom= only"),
        ("cs(Days | Subject, True)", r"takes hom= only"),
        ("cs(Days | Subject, hom=1)", "hom= is True or False"),
        ("cs(Days | Subject, hom=True, hom=False)", "takes one option"),
        ("us(Days | Subject, hom=True)", r"us\(\) has no options"),
        ("cs(0 | Subject)", "has no columns"),
        ("cs( | Subject)", "no left side"),
        ("cs(Days | )", "no grouping factor"),
        ("cs(Days | Subject) + cs(Days | Subject)", "there twice"),
        ("(1 | cs(Days | Subject))", "a random term within a random term"),
        (
            "ar2(0 + C(Days) | Subject)",
            r"Structures are us, diag, cs, ar1, toep.*Did you mean 'ar1'",
        ),
        ("cs((Days | Subject))", r"between the parentheses of cs\(0 \+ f \| group\) alone"),
        ("hetar1(0 + C(Days) | Subject)", r"Write ar1\(0 \+ f \| group, hom=False\)"),
        ("ou(0 + Days | Subject)", r"Write exp\(0 \+ position\(t\) \| group\)"),
        *(
            (f"{word}(0 + Days || Subject)", rf"'\|\|' would undo the structure of {word}\(\)")
            for word in ("us", "diag", "ar1", "toep", "exp")
        ),
    ],
)
def test_bad_formulas(random: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        MixedLM.from_formula(SLEEP + random, read("sleepstudy"))


@pytest.mark.parametrize("word", ["cs", "diag", "ar1", "toep"])
def test_nested_factors_have_the_structure_each(word: str) -> None:
    """``/`` repeats the structure and its options, as in lme4 2."""
    data = read("machines").assign(site=lambda d: d["Worker"].astype(int) % 2)
    nested = MixedLM.from_formula(
        f"score ~ Machine + {word}(0 + Machine | site/Worker, hom=True)", data
    )
    by_hand = MixedLM.from_formula(
        f"score ~ Machine + {word}(0 + Machine | site, hom=True)"
        f" + {word}(0 + Machine | site:Worker, hom=True)",
        data,
    )
    assert [t.text for t in nested.design.terms] == [t.text for t in by_hand.design.terms]
    theta = by_hand.problem.covariance.start()
    assert nested.objective(theta) == by_hand.objective(theta)


@pytest.mark.parametrize(
    ("random", "message"),
    [
        ("ar1(Days | Subject)", "an intercept beside others"),
        ("toep(Days | Subject)", "an intercept beside others"),
        (
            "toep(0 + C(Days) | Subject, hom=True)",
            "cannot tell the correlation in toep.* and the residual variance",
        ),
        ("ar1(0 + Days:C(Days > 4) | Subject)", "no indicators"),
        ("ar1(0 + Days | Subject)", "one column; a correlation needs two"),
        ("cs(1 | Subject)", r"one column.*\n.*\(1 \| Subject\)"),
        (
            "cs(0 + C(Days) | Subject, hom=True)",
            "cannot tell the correlation in cs.* and the residual variance",
        ),
        ("diag(0 + C(Days) | Subject, hom=True)", "cannot tell .* residual variance apart"),
    ],
)
def test_bad_designs(random: str, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        MixedLM.from_formula(SLEEP + random, read("sleepstudy")).fit()


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        ([1.0, 2.0], r"theta\[1\] is 2; .*'ar1' it lies between -1 and 1"),
        ([-1.0, 0.3], r"theta\[0\] is -1; .* between 0 and inf"),
        ([1.0], "standard deviations relative to sigma, then correlations"),
    ],
)
def test_bad_starts(theta: list[float], message: str) -> None:
    model = MixedLM.from_formula(SLEEP + "ar1(0 + C(Days) | Subject)", read("sleepstudy"))
    with pytest.raises(FitError, match=message):
        model.fit(start_params=theta)


def test_known_sigma_lets_one_row_a_cell_pass() -> None:
    model = MixedLM.from_formula(SLEEP + "cs(0 + C(Days) | Subject, hom=True)", read("sleepstudy"))
    result = model.fit(sigma=15.0)
    design = model.design
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]
    dense = oracle.objective(design.y, design.X, terms, result.theta, sigma=15.0)
    assert_allclose(result.objective, dense, rtol=1e-10)


def test_an_occasion_without_rows_keeps_its_place() -> None:
    """Given by levels or by the categories of a column; its effects are predicted, too."""
    data = read("ar1_gap")
    data["occasion"] = pd.Categorical(data["time"], categories=range(1, 9))
    result = MixedLM.from_formula("y ~ x + ar1(0 + occasion | id)", data).fit()
    assert_allclose(result.objective, 874.606383071931, atol=1e-6)
    assert result.random_effects["id"].shape[1] == 8
    assert (result.random_effects["id"].iloc[:, 4] != 0).all()
    new = data.head(1).assign(occasion=pd.Categorical([5], categories=range(1, 9)))
    assert np.isfinite(result.predict(new)).all()
    # other structures and the fixed part know no order: the category is dropped
    plain = MixedLM.from_formula("y ~ x + cs(0 + occasion | id, hom=True)", data)
    assert len(plain.design.terms[0].columns) == 7
    with pytest.raises(DesignError, match=r"occasion\[5\].* is constant"):
        MixedLM.from_formula("y ~ x + ar1(0 + occasion | id, hom=False)", data)


def test_words_for_the_plain_covariances() -> None:
    data = read("sleepstudy")
    for written, plain in (("us(Days | Subject)", "(Days | Subject)"),
                           ("diag(Days | Subject)", "(Days || Subject)")):  # fmt: skip
        one, two = (MixedLM.from_formula(SLEEP + random, data) for random in (written, plain))
        assert one.design.terms[0].text == two.design.terms[0].text == plain
        assert one.fit().objective == two.fit().objective
    one = MixedLM.from_formula("score ~ 1 + diag(0 + Machine | Worker, hom=True)", read("machines"))
    assert one.design.terms[0].text == "diag(0 + Machine | Worker, hom=True)"
    assert one.fit().random_effects["Worker"].shape == (6, 3)
    nested = MixedLM.from_formula("strength ~ 1 + us(1 | batch/cask)", read("pastes"))
    assert [term.text for term in nested.design.terms] == ["(1 | batch)", "(1 | batch:cask)"]


def test_a_fit_asks_for_several_minima_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def counted(problem: object) -> bool:
        calls.append(problem)
        return False

    monkeypatch.setattr("mixedlm_ext.search.minimum.several_minima", counted)
    MixedLM.from_formula(SLEEP + "(Days | Subject)", read("sleepstudy")).fit()
    assert len(calls) == 1


def test_neighbours_that_hardly_differ_are_no_finding() -> None:
    result = MixedLM.from_formula("y ~ f + ar1(0 + f | g)", at_boundary("alike", 2)).fit()
    assert 0.999 < result.theta[1] < 1
    assert not result.singular
    assert "close to more than the data can tell" not in " ".join(str(result.check()).split())
