"""Variance components in statsmodels' spelling: one variance for all columns of an entry."""

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels
import statsmodels.formula.api as statsmodels_smf
from numpy.testing import assert_allclose
from packaging.version import Version
from statsmodels.regression.mixed_linear_model import MixedLMParams

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import DesignError, FitError, FormulaError
from mixedlm_ext.inference.compare.nesting import is_nested

pytestmark = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")

N_GROUPS, SIZE = 20, 12


def make_data() -> pd.DataFrame:
    """Groups of twelve with factors, booleans and numbers that have random effects."""
    rng = np.random.default_rng(3)
    n = N_GROUPS * SIZE
    g = np.repeat(np.arange(N_GROUPS), SIZE)
    data = pd.DataFrame({"g": g, **{name: rng.normal(size=n) for name in ("x", "z", "z2", "z3")}})
    data["a"] = rng.choice(list("uvw"), n)
    data["ac"] = pd.Categorical(data["a"])  # text has other levels in each group, for statsmodels
    data["f"] = pd.Categorical(rng.choice(list("pq"), n))
    data["b"] = data["x"] > 0
    data["nb"] = data["b"].astype("boolean")
    data["my cat"] = data["f"]
    modes = rng.normal(size=(N_GROUPS, 10))
    data["y"] = data["x"] + modes[g, 0] + rng.normal(size=n)
    data["y"] += modes[g, 1 + pd.factorize(data["a"], sort=True)[0]] + modes[g, 4] * data["z"]
    data["y"] += 0.7 * modes[g, 5 + data["b"].astype(int)]
    data["y"] += 0.5 * (modes[g, 7] * data["z2"] + modes[g, 8] * data["z3"])
    return data


DATA = make_data()


def ours(entry: str, data: Any = DATA, name: str = "room", **arguments: Any) -> Any:
    return MixedLM.from_formula(
        "y ~ x", data, groups="g", re_formula="1", vc_formula={name: entry}, **arguments
    )


# ------------------------------------------------------------------ every spelling of an entry


@pytest.mark.filterwarnings("ignore")  # of statsmodels' optimizer
@pytest.mark.parametrize(
    "entry",
    [
        "0 + b", "b - 1", "~ 0 + b", "f - 1", "0 + C(a)", "0 + a:f", "0 + Q('my cat')",
        "0 + I(x > 0)", "0 + pd.cut(x, [-9, -.5, .5, 9])", "0 + a.str.upper()", "0 + z", "0 + z:f",
        "0 + z2 + z3", "0 + z2*z3", "b", "C(a)", "1 + z2", "0 + a + f",
        "0 + np.column_stack([z2, z3])", "0 + C(ac, Sum)", "0 + C(a, Treatment('v'))",
    ],
)  # fmt: skip
def test_an_entry_has_one_variance_as_in_statsmodels(entry: str) -> None:
    arguments = {"groups": "g", "re_formula": "1", "vc_formula": {"room": entry}}
    theirs = statsmodels_smf.mixedlm("y ~ x", DATA, **arguments)
    r = ours(entry).fit()
    assert len(r.theta) == 2
    # statsmodels has no value for a variance of exactly zero
    cov_re, vcomp = np.maximum(r.vcomp.to_numpy()[:, None] / r.scale, 1e-15)
    at_ours = MixedLMParams.from_components(
        r.params.to_numpy(), cov_re=cov_re[:, None], vcomp=vcomp
    )
    best = theirs.fit(method=["lbfgs", "powell"])
    assert r.llf - best.llf > -1e-6
    if Version(statsmodels.__version__) >= Version("0.15"):  # searches before may stop short
        assert r.llf - best.llf < 0.01
    assert_allclose(theirs.loglike(at_ours, profile_fe=False), r.llf, rtol=1e-9)
    assert list(r.varcorr()["group"]) == ["g", "room", "Residual"]
    assert list(r.random_effects) == ["g", "room"]


@pytest.mark.parametrize(
    "entry, column",
    [
        ("0 + nb", "b"),
        ("nb - 1", "b"),
        ("0 + f.astype(str)", "f"),
        ("0 + C(a, levels=['w', 'v', 'u'])", "a"),
        ("0 + a.where(a != 'u', 'v')", "merged"),
        ("0 + pd.cut(x, 3)", "bins"),
    ],
)
def test_what_statsmodels_refuses_or_reads_group_by_group(entry: str, column: str) -> None:
    merged = DATA["a"].where(DATA["a"] != "u", "v")
    data = DATA.assign(merged=merged, bins=pd.cut(DATA["x"], 3).astype(str))
    by_formula = MixedLM.from_formula(f"y ~ x + (1 | g) + (1 | g:{column})", data).fit()
    assert_allclose(ours(entry, data).fit().llf, by_formula.llf, rtol=1e-9)


@pytest.mark.parametrize("kind", ["dict", "missing", "subset", "weights", "category", "string"])
def test_the_kind_of_an_entry_is_seen_in_the_rows_used(kind: str) -> None:
    data, arguments = DATA.copy(), {}
    if kind == "missing":
        data["b"] = data["b"].astype(object).where(np.arange(len(data)) % 7 > 0, None)
    elif kind == "subset":
        arguments["subset"] = data["x"] > -1
    elif kind == "weights":
        arguments["weights"] = 1.0 + data["z"] ** 2
    elif kind in ("category", "string"):
        data["b"] = data["b"].map({True: "yes", False: "no"}).astype(kind)
    given = {name: data[name].to_numpy() for name in data} if kind == "dict" else data
    expected = MixedLM.from_formula("y ~ x + (1 | g) + (1 | g:b)", data, **arguments).fit()
    assert_allclose(ours("0 + b", given, **arguments).fit().llf, expected.llf, rtol=1e-9)


@pytest.mark.parametrize(
    "entry, text",
    [
        ("0 + z:f", "(0 + z | g:f)"),
        ("0 + f:z2:a:z", "(0 + z2:z | g:f:a)"),
        ("0 + a:f", "(1 | g:a:f)"),
        ("z - 1", "(0 + z | g)"),
        ("0 + C(a, Sum)", "(0 + C(a, Sum) | g) with one variance"),
    ],
)
def test_levels_of_a_factor_are_levels_below_the_group(entry: str, text: str) -> None:
    assert ours(entry).random_terms[1].text == text


def test_there_may_be_more_effects_than_rows() -> None:
    few = DATA.groupby("g").head(3)
    assert len(ours("0 + z + z2 + z3 + x", few).fit().theta) == 2  # 80 effects for 60 rows


def test_entries_in_alphabetical_order_with_their_names() -> None:
    model = MixedLM.from_formula(
        "y ~ x", DATA, groups="g", vc_formula={"two": "0 + z2 + z3", "level": "1", "room": "0 + a"}
    )
    r = model.fit()
    assert list(r.varcorr()["group"]) == ["level", "room", "two", "Residual"]
    assert list(r.varcorr()["name"]) == ["Intercept", "Intercept", "z2, z3", ""]
    assert list(r.vcomp.index) == [("level", "Intercept"), ("room", "Intercept"), ("two", "z2, z3")]
    assert "two" in str(r.summary())
    assert "sd(two, z2, z3)" in r.conf_int(method="profile").index


def test_the_same_column_may_be_in_two_entries_of_several_columns() -> None:
    r = ours("1 + z2").fit()
    assert [term.columns for term in r.model.random_terms] == [("Intercept",), ("Intercept", "z2")]
    with pytest.raises(FormulaError, match="is in two random terms of 'g'"):
        ours("1")
    with pytest.raises(FormulaError, match="is in two random terms of 'g'"):
        MixedLM.from_formula(
            "y ~ x", DATA, groups="g", vc_formula={"a": "0 + z2 + z3", "b": "z2 + z3 - 1"}
        )


def test_update_keeps_components() -> None:
    """A formula cannot hold their one variance and their name: update carries them along."""
    result = ours("0 + z2 + z3").fit()
    more = result.update("~ . + z")
    direct = MixedLM.from_formula(
        "y ~ x + z", DATA, groups="g", re_formula="1", vc_formula={"room": "0 + z2 + z3"}
    ).fit()
    assert_allclose(more.objective, direct.objective, rtol=1e-9)
    assert more.varcorr()["group"].tolist() == ["g", "room", "Residual"]
    for changed in (more.update("~ . - z"), pickle.loads(pickle.dumps(result)).update("~ .")):
        assert_allclose(changed.objective, result.objective, rtol=1e-9)
    part = DATA["g"] < 12
    assert_allclose(
        result.update("~ .", data=DATA[part]).objective,
        ours("0 + z2 + z3", DATA[part]).fit().objective,
        rtol=1e-9,
    )
    assert_allclose(
        result.update("~ . - (0 + z2 + z3 | g)").objective,
        MixedLM.from_formula("y ~ x + (1 | g)", DATA).fit().objective,
        rtol=1e-9,
    )
    crossed = result.update("log(y + 20) ~ . + (1 | a)").varcorr()
    assert crossed["group"].tolist() == ["g", "a", "room", "Residual"]
    assert crossed["name"].tolist() == ["Intercept", "Intercept", "z2, z3", ""]


def test_update_keeps_the_names_of_components() -> None:
    result = ours("0 + C(a)").fit().update("~ . + z")
    assert result.varcorr()["group"].tolist() == ["g", "room", "Residual"]
    assert result.model.formula_full == "y ~ x + z + (1 | g) + (1 | g:C(a))"
    assert_allclose(
        result.objective,
        MixedLM.from_formula("y ~ x + z + (1 | g/a)", DATA).fit().objective,
        rtol=1e-9,
    )
    assert [t.group for t in result.update("~ . - (1 | g:C(a))").model.random_terms] == ["g"]


def test_what_update_cannot_do_with_components_is_said() -> None:
    result = ours("0 + z2 + z3").fit()
    with pytest.raises(FormulaError, match=r"- \(0 \+ z2 \+ z3 \| g\) \+ \(0 \+ z2 \| g\)'"):
        result.update("~ . - (0 + z3 | g)")
    with pytest.raises(FormulaError, match=r"from_formula\(\.\.\., vc_formula"):
        ours("0 + z + z2 + z3").fit().update("~ . - (0 + z3 | g)")
    with pytest.raises(FormulaError, match="keeps the variance component 'room' and groups="):
        result.update("~ . - (1 | g)", groups="a")


def test_step_takes_components_out() -> None:
    data = DATA.assign(y=DATA["x"] + np.sin(np.arange(len(DATA)) ** 2) + np.cos(DATA["g"]))
    found = ours("0 + z2 + z3", data).fit().step(reduce_fixed=False)
    assert "(0 + z2 + z3 | g) with one variance" in found.random.index
    assert [term.group for term in found.model.model.random_terms] == ["g"]
    assert found.model.varcorr()["group"].tolist() == ["g", "Residual"]


# ---------------------------------------------------------- one variance, whatever uses the fit


def two_ways(weights: bool = False) -> tuple[MixedLM, MixedLM]:
    """The levels of group:factor, and the factor's indicators with one variance in each group."""
    g, a = DATA["g"].to_numpy(), DATA["a"].to_numpy()
    indicators = np.column_stack([(a == level).astype(float) for level in "uvw"])
    X = np.column_stack([np.ones(len(g)), DATA["x"]])
    terms = [
        RandomTerm([g, a], name="room"),
        RandomTerm(g, 1000.0 * indicators, name="room", structure="iid"),
    ]
    given = {"weights": np.random.default_rng(1).uniform(0.5, 2.0, len(g))} if weights else {}
    intercept = RandomTerm(g, name="g")
    one, two = (MixedLM(DATA["y"].to_numpy(), X, [intercept, term], **given) for term in terms)
    return one, two


SAME = {
    "params": lambda r: r.params,
    "bse": lambda r: r.bse,
    "llf": lambda r: r.llf,
    "satterthwaite": lambda r: r.df_resid_inference,
    "kenward_roger": lambda r: r.with_ddf("kenward-roger").df_resid_inference,
    "kenward_roger_bse": lambda r: r.with_ddf("kenward-roger").bse,
    "fitted": lambda r: r.fittedvalues,
    "parameters": lambda r: r.df_modelwc,
    "r2": lambda r: r.r2(),
    "icc": lambda r: r.icc().iloc[:, [0, 2, 3]],
    "icc_profile": lambda r: r.icc(method="profile").iloc[:, [0, 2, 3]],
    "ranova": lambda r: r.ranova(),
    "leverage": lambda r: r.influence().cooks_distance,
    "bobyqa": lambda r: r.model.fit(method="bobyqa").llf,
    "bfgs": lambda r: r.model.fit(method="bfgs").llf,
}


@pytest.mark.parametrize("weights", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("what", SAME)
def test_indicators_with_one_variance_are_levels(what: str, weights: bool) -> None:
    one, two = two_ways(weights)
    expected, found = (np.asarray(SAME[what](m.fit()), dtype=float) for m in (one, two))
    assert_allclose(found, expected, rtol=2e-4, atol=1e-7)


def test_profile_many_and_theta_of_one_variance() -> None:
    one, two = two_ways()
    a, b = one.fit(), two.fit()
    assert_allclose(b.theta * [1.0, 1000.0], a.theta, rtol=1e-4)
    limits = [np.array(r.profile().conf_int()) for r in (a, b)]
    limits[1][1] *= 1000.0
    assert_allclose(limits[1], limits[0], rtol=1e-4, atol=1e-5)
    rng = np.random.default_rng(2)
    Y = DATA["y"].to_numpy()[:, None] + rng.normal(size=(len(DATA), 3))
    components = [np.array(m.fit_many(Y).components) for m in (one, two)]
    components[1][:, 1] *= 1000.0
    assert_allclose(components[1], components[0], rtol=1e-3, atol=1e-6)
    again = MixedLM(two.endog, two.exog, two.random).fit()
    assert_allclose(again.llf, b.llf, rtol=1e-10)


def test_prediction_errors_of_one_variance() -> None:
    rows = [0, 3, 100]
    X = np.column_stack([np.ones(3), [0.1, 0.2, 0.3]])
    a = DATA["a"].to_numpy()[rows]
    Z = np.column_stack([1000.0 * (a == level) for level in "uvw"])
    frames = []
    for model, columns in zip(two_ways(), (None, Z), strict=True):
        for groups in (DATA["g"].to_numpy()[rows], np.array([0, 98, 99])):
            term = RandomTerm((groups, a)) if columns is None else RandomTerm(groups, columns)
            new = [RandomTerm(groups), term]
            frames.append(model.fit().get_prediction(X, random=new).summary_frame())
    assert_allclose(frames[2], frames[0], rtol=1e-4)
    assert_allclose(frames[3], frames[1], rtol=1e-4)


def test_one_variance_is_nested_in_several() -> None:
    one = ours("0 + z2 + z3").design
    several, sum_of_levels = (
        MixedLM.from_formula(f"y ~ x + (1 | g) + {term}", DATA).design
        for term in ("(0 + z2 + z3 || g)", "(1 | g:a)")
    )
    assert is_nested(one, several)
    assert not is_nested(several, one)
    assert not is_nested(one, sum_of_levels)


def test_tidy_has_a_row_for_a_variance() -> None:
    r = ours("0 + z2 + z3").fit()
    rows = r.tidy(effects="ran_pars")
    assert list(rows["term"]) == ["sd__Intercept", "sd__z2, z3", "sd__Observation"]


def test_derivatives_of_one_variance() -> None:
    _, model = two_ways(weights=True)
    problem = ours("0 + z2*z3 + b").problem
    for p in (model.problem, problem):
        theta = np.array([0.6, 0.4])
        for reml in (True, False):
            criterion = GaussianCriterion(p, reml)
            e = criterion.at(theta)
            for j, h in enumerate(1e-5 * np.eye(2)):
                change = criterion.at(theta + h).value - criterion.at(theta - h).value
                assert_allclose(e.gradient[j], change / 2e-5, rtol=1e-5, atol=1e-5)


def test_average_information_of_one_variance() -> None:
    """At the optimum of a large sample it is the Hessian, up to the size of the sample."""
    for model in two_ways():
        e = model.fit().fit_record.engine
        H = GaussianCriterion(model.problem, True).hessian(e.theta)
        assert_allclose(e.hessian_model, H, rtol=0.5, atol=0.15 * np.abs(H).max())


def test_predictions_of_one_variance() -> None:
    r = ours("0 + z2 + z3").fit()
    assert_allclose(r.predict(DATA), r.fittedvalues, rtol=1e-10)
    new = DATA.iloc[::17].assign(g=lambda d: d["g"].where(d["g"] != 0, 99))
    frame = r.get_prediction(new).summary_frame()
    v = r.vcomp.to_numpy()
    unseen = (new["g"] == 99).to_numpy()
    spread = v[0] + v[1] * (new["z2"] ** 2 + new["z3"] ** 2)
    X = np.column_stack([np.ones(len(new)), new["x"]])
    fixed = np.einsum("ip,pq,iq->i", X, r.cov_params().to_numpy(), X)
    assert_allclose((frame["mean_se"] ** 2)[unseen], (spread + fixed)[unseen], rtol=1e-8)
    copy = pickle.loads(pickle.dumps(r))
    copy.remove_data()
    assert_allclose(copy.predict(new), frame["mean"], rtol=1e-10)
    assert_allclose(r.to_predictor().predict(new), frame["mean"], rtol=1e-10)


def test_conditional_modes_against_the_dense_formula() -> None:
    r = ours("0 + z2 + z3").fit()
    Z = DATA[["z2", "z3"]].to_numpy()
    same = DATA["g"].to_numpy()[:, None] == DATA["g"].to_numpy()
    v = r.vcomp.to_numpy()
    V = same * (v[0] + v[1] * Z @ Z.T) + r.scale * np.eye(len(DATA))
    residual = np.linalg.solve(V, DATA["y"] - r.model.exog @ r.params)
    for level in (0, 7):
        rows = (DATA["g"] == level).to_numpy()
        expected = v[1] * Z[rows].T @ residual[rows]
        assert_allclose(r.random_effects["room"].loc[level], expected, rtol=1e-6)


def test_simulated_and_known_covariances_of_one_variance() -> None:
    r = ours("0 + z2 + z3").fit()
    assert r.bootstrap(4, rng=1).replicates.shape == (4, 5)
    simulate = r.model.simulate
    beta = [0.0, 1.0]
    drawn = simulate(beta, covariances={"g": 1.0, "room": 2.0}, rng=1)
    again = simulate(beta, covariances=[1.0, 2.0 * np.eye(2)], rng=1)
    assert_allclose(drawn, again)
    with pytest.raises(FitError, match=r"have one variance\. Give one number"):
        simulate(beta, covariances=[1.0, [1.0, 2.0]])


def test_entries_that_are_zero_or_within_the_fixed_part() -> None:
    with pytest.raises(DesignError, match=r"all columns of .* are zero in the data"):
        ours("0 + np.column_stack([0 * z2, 0 * z3])")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inside = MixedLM.from_formula(
            "y ~ 0 + C(g) + C(g):z2", DATA, groups="g", re_formula="0", vc_formula={"r": "z2"}
        )
        with pytest.raises(DesignError, match="lie within the fixed part"):
            inside.fit()
        half = MixedLM.from_formula(
            "y ~ 0 + C(g)", DATA, groups="g", re_formula="0", vc_formula={"r": "z2"}
        )
        assert half.fit().vcomp.iloc[0] > 0
