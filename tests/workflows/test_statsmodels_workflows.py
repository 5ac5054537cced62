"""statsmodels' own procedures with these models in them, beside its own MixedLM."""

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from statsmodels.imputation.mice import MICE, MICEData
from statsmodels.regression.mixed_linear_model import MixedLMParams, VCSpec
from statsmodels.stats.mediation import Mediation
from statsmodels.stats.outliers_influence import MLEInfluence, OLSInfluence

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.errors import DesignError, FitError, FormulaError
from mixedlm_ext.model_copies import ResponseDistribution

pytestmark = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")


def make_data(n_groups: int = 60, size: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    n = n_groups * size
    g = np.repeat(np.arange(n_groups), size)
    data = pd.DataFrame({"g": g, "x": rng.normal(size=n), "t": rng.integers(0, 2, n)})
    data["f"] = rng.choice(["a", "b", "c"], n)
    data["med"] = 0.7 * data["x"] + rng.normal(size=n_groups)[g] + 0.5 * rng.normal(size=n)
    data["y"] = 0.5 * data["x"] + data["med"] + rng.normal(size=n_groups)[g] + rng.normal(size=n)
    data["y"] += 0.3 * data["t"]
    return data


DATA = make_data()


def seeded(function: Callable[..., Any], seed: int, *args: Any, **kwargs: Any) -> Any:
    """Call what draws random numbers: before statsmodels 0.15 its functions took no ``rng``."""
    if "rng" in inspect.signature(function).parameters:
        return function(*args, rng=seed, **kwargs)
    np.random.seed(seed)  # noqa: NPY002
    return function(*args, **kwargs)


# ------------------------------------------------------------------------------------ imputation


@pytest.mark.filterwarnings("ignore")  # of statsmodels' optimizer
@pytest.mark.parametrize("formula", ["y ~ med + x", "y ~ med + x + (1 | g)"])
def test_multiple_imputation(formula: str) -> None:
    data = DATA[["y", "med", "x", "g"]].copy()
    data.loc[::9, "med"] = np.nan
    data.loc[4::13, "x"] = np.nan
    groups = {} if "|" in formula else {"init_kwds": {"groups": "g"}}
    found = MICE(formula, MixedLM, seeded(MICEData, 5, data.copy()), **groups).fit(2, 4)
    theirs = MICE(
        "y ~ med + x", sm.MixedLM, seeded(MICEData, 5, data.copy()), init_kwds={"groups": "g"}
    ).fit(2, 4)
    assert_allclose(found.params, theirs.params[:3], rtol=2e-4)
    assert_allclose(found.bse, theirs.bse[:3], rtol=0.05)
    assert "med" in str(found.summary())


def test_the_params_of_a_fit_are_no_covariance_parameters() -> None:
    model = MixedLM.from_formula("y ~ med + x + (1 | g)", DATA)
    r = model.fit()
    assert_allclose(model.fit(start_params=r.params).llf, r.llf, rtol=1e-12)
    with pytest.raises(FitError, match="covariance parameters"):
        model.fit(start_params=r.params.to_numpy())


# ------------------------------------------------------------------------------------- mediation


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mixed", ["both", "outcome", "mediator"])
def test_mediation(mixed: str) -> None:
    def effects(cls: Any, **groups: Any) -> Any:
        outcome, mediator = (
            (cls, groups) if mixed in ("both", which) else (sm.OLS, {})
            for which in ("outcome", "mediator")
        )
        one = outcome[0].from_formula("y ~ med + x + t", DATA, **outcome[1])
        two = mediator[0].from_formula("med ~ x + t", DATA, **mediator[1])
        result = seeded(Mediation(one, two, "x", "med").fit, 3, n_rep=100)
        return result.summary()["Estimate"]

    expected = effects(sm.MixedLM, groups="g")
    assert_allclose(effects(MixedLM, groups="g"), expected, atol=0.12)


def test_mediated_effect_is_the_product_of_two_coefficients() -> None:
    n_rep = 320  # a Monte Carlo error of some 2 % of the effects
    outcome = MixedLM.from_formula("y ~ med*t + x + f + (1 | g)", DATA)
    mediator = MixedLM.from_formula("med ~ x + t + (1 | g)", DATA)
    mediation = Mediation(outcome, mediator, "x", "med", moderators={"t": 1})
    simulated = seeded(mediation.fit, 3, n_rep=n_rep)
    r, m = outcome.fit(), mediator.fit()
    total = r.params.index.isin(["med", "med:t"]).astype(float)
    slope, slope_var = total @ r.params, total @ r.cov_params() @ total
    a, a_var = m.params["x"], m.cov_params().loc["x", "x"]
    # A draw of the mediated effect is B(A + e): both coefficients from their sampling
    # distributions, e the difference of two mean mediators, with effects of 60 groups of 4 rows.
    e_var = 2 * (m.varcorr()["variance"] / [60, 240]).sum()
    draw_var = {
        "ACME": slope**2 * (a_var + e_var) + slope_var * (a**2 + a_var + e_var),
        "ADE": r.cov_params().loc["x", "x"],
    }
    for name, expected in {"ACME": slope * a, "ADE": r.params["x"]}.items():
        draws = getattr(simulated, f"{name}_avg")
        # Means and deviations of n normal draws, within three of their own standard errors.
        sd = np.sqrt(draw_var[name])
        assert_allclose(draws.mean(), expected, rtol=0, atol=3 * sd / np.sqrt(n_rep))
        assert_allclose(draws.std(ddof=1), sd, rtol=3 / np.sqrt(2 * n_rep))


def test_mediation_with_a_boolean_exposure_and_arrays() -> None:
    data = DATA.assign(t=DATA["t"] > 0)
    outcome = MixedLM.from_formula("y ~ med + t + (1 | g)", data)
    mediator = MixedLM.from_formula("med ~ t + (1 | g)", data)
    exposure = [outcome.exog_names.index("t[T.True]"), 1]
    mediation = Mediation(
        *(MixedLM(m.endog, m.exog.copy(), m.random) for m in (outcome, mediator)),
        exposure, outcome.exog_names.index("med"),
    )  # fmt: skip
    one = seeded(mediation.fit, 1, n_rep=200)
    expected = mediator.fit().params["t[T.True]"] * outcome.fit().params["med"]
    assert_allclose(one.summary()["Estimate"]["ACME (average)"], expected, atol=0.08)


def test_rows_of_grouped_data_are_not_resampled() -> None:
    outcome = MixedLM.from_formula("y ~ med + x + (1 | g)", DATA)
    mediator = MixedLM.from_formula("med ~ x + (1 | g)", DATA)
    with pytest.raises(DesignError, match="Rows of grouped data cannot be resampled one by one"):
        Mediation(outcome, mediator, "x", "med").fit(method="bootstrap", n_rep=2)


# ----------------------------------------------------------------------------- variants, drawing


def test_variants_of_a_model() -> None:
    model = MixedLM.from_formula("y ~ center(x) + f + (x | g)", DATA, weights=1.0 + DATA["t"])
    again = MixedLM(model.endog, model.exog, **pickle.loads(pickle.dumps(model._get_init_kwds())))
    assert_allclose(again.fit().llf, model.fit().llf, rtol=1e-12)
    response = MixedLM(model.endog[::-1].copy(), model.exog, **model._get_init_kwds())
    assert response.fit().llf != model.fit().llf
    changed = model.data.frame.copy()
    changed["x"] = 0.0
    variant = MixedLM.from_formula(data=changed, **model._get_init_kwds())
    expected = model.exog.copy()
    expected[:, 3] = -DATA["x"].mean()
    assert_allclose(variant.exog, expected)
    assert variant.exog_names == model.exog_names
    with pytest.raises(DesignError, match="the changed data have 10 complete rows"):
        MixedLM.from_formula(data=changed.iloc[:10], **model._get_init_kwds())


def test_distribution_of_the_response() -> None:
    offset = np.linspace(0, 5, len(DATA))
    weights = np.where(DATA["t"] > 0, 4.0, 1.0)
    model = MixedLM.from_formula("y ~ x + (x | g)", DATA, offset=offset, weights=weights)
    r = model.fit()
    beta = np.array([1.0, -2.0])
    rng = np.random.default_rng(1)
    drawn = np.array(
        [model.get_distribution(beta, r.scale).rvs(len(DATA), rng) for _ in range(4000)]
    )
    assert_allclose(drawn.mean(axis=0), model.exog @ beta + offset, atol=0.15)
    Z, cov = model.Z.toarray(), np.asarray(r.cov_re)
    V = Z @ np.kron(np.eye(60), cov) @ Z.T + np.diag(r.scale / weights)
    assert_allclose(np.cov(drawn.T), V, atol=0.12 * V.max())
    assert_allclose(drawn.var(axis=0).sum(), np.trace(V), rtol=0.02)
    one = model.get_distribution(beta, r.scale, 2.0 * model.exog)
    assert_allclose(one.rvs(rng=3), one.rvs(rng=np.random.default_rng(3)))
    assert_allclose(one.rvs(rng=np.random.RandomState(3)).shape, (len(DATA),))
    with pytest.raises(FitError, match="exog has 5 rows"):
        model.get_distribution(beta, 1.0, model.exog[:5])
    with pytest.raises(FitError, match="params has shape"):
        model.get_distribution(np.ones(5), 1.0)
    with pytest.raises(FitError, match="scale=-1 is no variance"):
        model.get_distribution(beta, -1)


def test_correlated_effects_of_the_distribution() -> None:
    design = MixedLM.from_formula("y ~ x + (x | g)", DATA).design
    T = np.array([[0.5, 0.0], [3.0, 1.0]])
    distribution = ResponseDistribution(design, np.zeros(len(DATA)), [T], 4.0)
    rng = np.random.default_rng(4)
    drawn = np.array([distribution.rvs(rng=rng) for _ in range(400)])
    Z = design.terms[0].X
    expected = 4.0 * (np.einsum("nk,kl,nl->n", Z, T @ T.T, Z) + 1.0)
    assert_allclose((drawn**2).mean(axis=0) / expected, 1.0, atol=0.4)
    assert_allclose(((drawn**2).mean(axis=0) / expected).mean(), 1.0, atol=0.02)


def test_terms_of_a_model_are_terms() -> None:
    model = MixedLM.from_formula("y ~ x + (1 | g)", DATA)
    terms = model._get_init_kwds()["random"]
    assert isinstance(terms, list) and isinstance(terms[0], RandomTerm)


# --------------------------------------------------------------------------------- array spelling


def dense_vc(value: str) -> VCSpec:
    """The matrices that statsmodels makes of one entry of vc_formula."""
    model = sm.MixedLM.from_formula(
        "y ~ x", DATA, groups="g", re_formula="1", vc_formula={"part": value}
    )
    return model.exog_vc


def theirs_and_ours(groups: Any = None, **arguments: Any) -> tuple[Any, Any]:
    slopes = np.random.default_rng(2).normal(size=(2, 60))[:, DATA["g"]]
    y = DATA["y"].to_numpy() + slopes[0] * DATA["x"].to_numpy() + slopes[1] * DATA["t"].to_numpy()
    X = np.column_stack([np.ones(len(DATA)), DATA["x"]])
    groups = DATA["g"].to_numpy() if groups is None else groups
    theirs = sm.MixedLM(y, X, groups=groups, **arguments)
    return theirs, MixedLM(y, X, groups=groups, **arguments).fit(method=["newton"], disp=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "case", ["none", "re", "one", "levels", "several", "values", "both", "text"]
)
def test_the_array_spelling(case: str) -> None:
    Z = np.column_stack([np.ones(len(DATA)), DATA["x"]])
    arguments: dict[str, Any] = {
        "none": {},
        "re": {"exog_re": Z},
        "one": {"exog_re": DATA["x"].to_numpy()},
        "levels": {"exog_vc": dense_vc("0 + C(f)")},
        "several": {"exog_vc": dense_vc("0 + x + t")},
        "values": {"exog_vc": dense_vc("0 + x:f")},
        "both": {"exog_re": np.ones((len(DATA), 1)), "exog_vc": dense_vc("0 + f")},
        "text": {"groups": np.array([f"group {g % 60:02d}" for g in DATA["g"]])},
    }[case]
    theirs, ours = theirs_and_ours(**arguments)
    k_vc = int("exog_vc" in arguments)
    covariances = ours.fit_record.random_cov[: theirs.k_re and 1]
    at_ours = {
        "cov_re": np.array(covariances).reshape(theirs.k_re, theirs.k_re) / ours.scale,
        "vcomp": ours.vcomp.to_numpy()[len(ours.vcomp) - k_vc :] / ours.scale,
    }
    theirs.fit(maxiter=1)  # which sets up what loglike reads
    point = MixedLMParams.from_components(np.asarray(ours.params), **at_ours)
    assert_allclose(theirs.loglike(point, profile_fe=False), ours.llf, rtol=1e-9)
    for name, value in at_ours.items():  # and there is its maximum
        more = 0.05 * (np.eye(theirs.k_re) if name == "cov_re" else np.ones(k_vc))
        for other in (0.99 * value, 1.01 * value, value + more):
            moved = {**at_ours, name: other}
            beside = MixedLMParams.from_components(np.asarray(ours.params), **moved)
            assert theirs.loglike(beside, profile_fe=False) <= ours.llf + 1e-9
    assert [name for name, _ in ours.vcomp.index[len(ours.vcomp) - k_vc :]] == ["part"] * k_vc


def test_positions_and_dicts_of_the_array_spelling() -> None:
    y, X, g = DATA["y"].to_numpy(), DATA[["x", "t"]].to_numpy(dtype=float), DATA["g"]
    expected = MixedLM(y, X, random=[RandomTerm(g.to_numpy(), X, "group")]).fit().llf
    for groups in (g, g.to_numpy(), g.tolist(), pd.Categorical(g), pd.to_datetime(g).tolist()):
        assert_allclose(MixedLM(y, X, groups, X).fit().llf, expected, rtol=1e-12)
    assert_allclose(MixedLM(y, X, groups=g, exog_re=X, use_sqrt=False).fit().llf, expected)
    mats = {label: X[g.to_numpy() == label] for label in range(60)}
    one = MixedLM(y, X, g, None, {"b": mats}).fit()
    by_term = MixedLM(y, X, [RandomTerm(g, X, structure="iid")]).fit()
    assert_allclose(one.llf, by_term.llf, rtol=1e-12)
    assert list(one.vcomp.index) == [("b", "c0, c1")]
    both = MixedLM(y, X, g, None, {"b": mats, "a": {k: m[:, :1] for k, m in mats.items()}})
    assert [term.name for term in both.random_terms] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"groups": "g"}, DesignError, "groups needs one value a row, not str"),
        ({"groups": DATA["g"], "random": []}, DesignError, "random= and groups= are both given"),
        ({"exog_re": DATA["x"]}, DesignError, "exog_re and exog_vc need groups="),
        ({}, DesignError, "random is missing"),
        ({"groups": DATA["g"], "exog_vc": [1]}, DesignError, "exog_vc is list; it needs names"),
        ({"groups": DATA["g"], "exog_vc": {"a": {}}}, DesignError, "has no matrix for the group 0"),
        ({"groups": DATA["g"][:5]}, DesignError, "5 values; endog has 240"),
        ({"groups": DATA[["g", "t"]]}, DesignError, "groups needs one value a row"),
    ],
)
def test_what_the_array_spelling_cannot_be(arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        MixedLM(DATA["y"], DATA[["x"]], **arguments)


def test_weights_are_never_taken_for_columns() -> None:
    term = [RandomTerm(DATA["g"])]
    with pytest.raises(TypeError, match="takes weights and all that follows by keyword"):
        MixedLM(DATA["y"], DATA[["x"]], term, np.ones(len(DATA)))
    with pytest.raises(TypeError, match="by position"):
        MixedLM(DATA["y"], DATA[["x"]], DATA["g"], None, None, None)


# ----------------------------------------------------------------------------- arguments of fit


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": ["powell", "lbfgs"]}, {"method": ("cg",)}, {"method": "cg"}, {"method": None},
        {"method": ["basinhopping", "bfgs"]}, {"disp": True}, {"full_output": True, "disp": 0},
        {"do_cg": False, "niter_sa": 3}, {"reml": True, "gtol": 1e-7, "maxiter": 500},
        {"free": None, "fe_pen": None, "cov_pen": None},
    ],
)  # fmt: skip
def test_arguments_of_statsmodels_fit_that_are_harmless(arguments: dict[str, Any]) -> None:
    model = MixedLM.from_formula("y ~ x", DATA, groups="g", use_sparse=True)
    r = model.fit(**arguments)
    assert_allclose(r.llf, model.fit().llf, rtol=1e-8)
    expected = next((m for m in arguments.get("method") or () if m in ("powell", "bfgs")), "newton")
    assert r.optimization.method == expected


@pytest.mark.parametrize("name", ["free", "fe_pen", "cov_pen", "callback"])
def test_arguments_of_statsmodels_fit_that_are_not(name: str) -> None:
    model = MixedLM.from_formula("y ~ x", DATA, groups="g")
    with pytest.raises(FitError, match=rf"{name}= of statsmodels' fit"):
        model.fit(**{name: object()})
    with pytest.raises(FitError, match=r"method='lbgfs' is not known\. Did you mean 'lbfgs'"):
        model.fit(method=["powell", "lbgfs"])


# --------------------------------------------------------------- functions that ask for the results


def asked(function: Any) -> str:
    """The one sentence with which a function of statsmodels ends."""
    with pytest.raises((AttributeError, FitError)) as caught:
        function()
    return str(caught.value)


def test_what_statsmodels_functions_cannot_do_names_the_way() -> None:
    r = MixedLM.from_formula("y ~ x + med + (x | g)", DATA).fit()
    for plot in (sm.graphics.plot_fit, sm.graphics.plot_regress_exog):
        assert "Use mixedlm_ext.plots" in asked(lambda plot=plot: plot(r, "x"))
    assert "external=False" in asked(lambda: sm.graphics.influence_plot(r))
    sm.graphics.influence_plot(r, external=False)
    assert "Use get_influence() for rows" in asked(lambda: MLEInfluence(r).cooks_distance)
    two = MixedLM.from_formula("y ~ x + (x || g)", DATA).fit()  # as many theta as fixed effects
    assert "get_influence() for rows" in asked(lambda: MLEInfluence(two).cooks_distance)
    assert "get_prediction()" in asked(lambda: OLSInfluence(r).summary_frame())
    assert "Use profile()" in asked(lambda: r.profile_re)
    assert not hasattr(r, "mse_resid") and not hasattr(r.model, "score_obs")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = r.nonsense
    crossed = MixedLM.from_formula("y ~ x + (1 | g) + (1 | f)", DATA).fit()
    assert "cov_re is defined for one grouping factor" in asked(lambda: crossed.cov_re)


def test_choice_of_confidence_intervals() -> None:
    r = MixedLM.from_formula("y ~ x + med + (1 | g)", DATA).fit()
    whole = r.conf_int().to_numpy()
    assert_allclose(r.conf_int(cols=[0]), whole[[0]])
    assert_allclose(r.conf_int(cols=[2, 0]), whole[[2, 0]])
    assert_allclose(r.conf_int(cols=["med"]), whole[[2]])
    assert_allclose(r.conf_int(0.05, [1]), whole[[1]])
    assert_allclose(r.conf_int(0.2, cols=np.array([-1])), r.conf_int(0.2).to_numpy()[[2]])
    with pytest.raises(FitError, match=r"cols has 'mde', which is no fixed effect\. Did you mean"):
        r.conf_int(cols=["mde"])
    with pytest.raises(FitError, match="cols has 3"):
        r.conf_int(cols=[3])
    with pytest.raises(FitError, match="write which="):
        r.conf_int(method="profile", cols=[0])


def test_prediction_of_one_row() -> None:
    X = np.column_stack([np.ones(len(DATA)), DATA["x"]])
    arrays = MixedLM(DATA["y"].to_numpy(), X, DATA["g"].to_numpy()).fit()
    row = [1.0, 0.3]
    expected = np.asarray(arrays.params) @ row
    for one in (row, np.array(row), np.array([row])):
        assert_allclose(arrays.predict(one, which="population"), [expected])
        assert_allclose(arrays.model.predict(arrays.params, one), np.ravel(expected)[0])
    own = arrays.predict(row, random=[RandomTerm([7])])
    assert_allclose(own, expected + arrays.random_effects["group"].iloc[7, 0])
    formula = MixedLM.from_formula("y ~ x + f + (1 | g)", DATA).fit()
    assert_allclose(formula.predict(DATA.iloc[9]), formula.fittedvalues[[9]])
    with pytest.raises(DesignError, match="data is a list; pass a pandas"):
        formula.predict(row)


def test_variables_that_are_called_like_functions() -> None:
    C = Q = I = center = log = 3  # noqa: E741, F841
    Sum = Treatment = 1  # noqa: F841
    formula = "log(y**2) ~ C(t) + I(x**2) + center(med) + C(f, Sum) + (1 | Q('g'))"
    found = MixedLM.from_formula(formula, DATA).fit().llf
    expected = MixedLM.from_formula(formula, DATA, eval_env={}).fit().llf
    assert_allclose(found, expected, rtol=1e-12)
    center = np.exp  # noqa: F841  a function of the caller's stays his
    found = MixedLM.from_formula("y ~ center(x) + (1 | g)", DATA).fit().llf
    assert_allclose(found, MixedLM.from_formula("y ~ np.exp(x) + (1 | g)", DATA).fit().llf)
    as_columns = DATA.rename(columns={"x": "C", "med": "center"})
    r = MixedLM.from_formula("y ~ C + center + (C | g)", as_columns).fit()
    assert_allclose(r.llf, MixedLM.from_formula("y ~ x + med + (x | g)", DATA).fit().llf)
    with pytest.raises(FormulaError, match="Rename the column 'C'"):
        MixedLM.from_formula("y ~ C + C(f) + (1 | g)", as_columns)
    with pytest.raises(FormulaError, match="cannot evaluate"):
        MixedLM.from_formula("y ~ med(x) + (1 | g)", DATA, eval_env={"med": 3})


def test_several_columns_as_groups() -> None:
    one = MixedLM.from_formula("y ~ x", DATA, groups="g").fit()
    for groups in (["g"], ("g",), DATA[["g"]], DATA["g"].tolist(), DATA["g"].to_numpy()[:, None]):
        assert_allclose(MixedLM.from_formula("y ~ x", DATA, groups=groups).fit().llf, one.llf)
    for groups in (["g", "f"], ("g", "f"), DATA[["g", "f"]]):
        with pytest.raises(DesignError, match=r"groups= is one factor.*\(1 \| g\) \+ \(1 \| f\)"):
            MixedLM.from_formula("y ~ x", DATA, groups=groups)


def test_scale_divides_by_n() -> None:
    """R's scale(x) divides by n - 1: a slope there is this one times (1 - 1/n)^-1/2."""
    slope = MixedLM.from_formula("y ~ scale(x) + (1 | g)", DATA).fit().params.iloc[1]
    by_r = DATA.assign(s=(DATA["x"] - DATA["x"].mean()) / DATA["x"].std(ddof=1))
    expected = MixedLM.from_formula("y ~ s + (1 | g)", by_r).fit().params.iloc[1]
    assert_allclose(slope, expected * np.sqrt(1.0 - 1.0 / len(DATA)), rtol=1e-10)


def test_conditional_covariances_by_term_and_by_level() -> None:
    one = MixedLM.from_formula("y ~ x + (x | g)", DATA).fit()
    covariances = one.random_effects_cov
    assert list(covariances) == list(one.random_effects) == ["g"]
    assert list(covariances["g"]) == list(range(60))
    pd.testing.assert_frame_equal(covariances[7], covariances["g"][7])
    assert list(covariances[7]) == list(covariances[7].index) == ["Intercept", "x"]
    sd = np.array([np.sqrt(np.diag(c)) for c in covariances["g"].values()])
    assert_allclose(one.random_effects_sd["g"], sd)
    two = MixedLM.from_formula("y ~ x + (1 | g) + (1 | f)", DATA).fit()
    assert list(two.random_effects_cov) == ["g", "f"]
    with pytest.raises(KeyError):
        two.random_effects_cov[7]
    assert pickle.loads(pickle.dumps(covariances))[7].equals(covariances[7])


@pytest.mark.parametrize("names", [["const", "x"], ["Intercept", "x"], ["x", "ones"]])
def test_columns_of_ones_in_exog_re_are_the_intercept(names: list[str]) -> None:
    frame = DATA.assign(const=1.0, Intercept=1.0, ones=1.0)
    X = frame[["const", "x"]]
    found = MixedLM(DATA["y"], X, groups=DATA["g"], exog_re=frame[names]).fit()
    expected = MixedLM.from_formula("y ~ x + (x | g)", DATA).fit()
    assert_allclose(found.objective, expected.objective, rtol=1e-8)
    assert set(found.cov_re.columns) == {"Intercept", "x"}
    text = MixedLM(DATA["y"], X, groups=DATA["g"], exog_re=frame["const"]).fit()
    assert list(text.cov_re.columns) == ["Intercept"]


def test_covariances_of_parts_and_combinations_are_not_spread_over_a_frame() -> None:
    result = MixedLM.from_formula("y ~ x + med + (1 | g)", DATA).fit()
    cov = result.cov_params()
    assert list(cov.index) == list(cov.columns) == ["Intercept", "x", "med"]
    L = np.array([[0.0, 1.0, -1.0], [1.0, 0.5, 0.0]])
    assert_allclose(result.cov_params(r_matrix=L), L @ cov.to_numpy() @ L.T)
    assert_allclose(result.cov_params(r_matrix=L[0]), L[0] @ cov.to_numpy() @ L[0])
    assert np.shape(result.cov_params(column=1)) == ()
    assert_allclose(result.cov_params(column=1), cov.iloc[1, 1])
    assert_allclose(result.cov_params(column=[0, 2]), cov.iloc[[0, 2], [0, 2]])
    assert_allclose(result.cov_params(scale=2 * result.scale), 2 * cov)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r: r.conf_int(alpha=2), r"alpha=2 is no significance level"),
        (lambda r: r.conf_int("x"), r"alpha='x' is no significance level"),
        (lambda r: r.f_test(""), r"the hypothesis cannot be read"),
        (lambda r: r.f_test("x = 0, x = 1"), r"the hypothesis contradicts itself"),
        (lambda r: r.f_test("x = 0, med = 1, x + med = 2"), r"the hypothesis contradicts itself"),
        (lambda r: r.t_test([0.0, np.nan, 1.0]), r"numbers that are not finite"),
        (lambda r: r.model.predict(r.params, DATA.head(2)), r"use predict\(data\) of the results"),
        (lambda r: r.model.predict(r.params, [1.0, 2.0]), r"use predict\(data\) of the results"),
    ],
)
def test_arguments_that_make_no_sense_in_words(call: Any, words: str) -> None:
    result = MixedLM.from_formula("y ~ x + med + (1 | g)", DATA).fit()
    with pytest.raises(FitError, match=words):
        call(result)


def test_repeated_hypotheses_that_agree_are_one() -> None:
    result = MixedLM.from_formula("y ~ x + med + (1 | g)", DATA).fit()
    with pytest.warns(UserWarning, match="2 rows but rank 1"):
        twice = result.f_test("x = 1, 2*x = 2")
    assert_allclose(twice.fvalue, result.f_test("x = 1").fvalue)


@pytest.mark.parametrize("name", ["rsquared", "fvalue", "compare_f_test", "outlier_test", "bse_re"])
def test_attributes_of_other_results_in_a_sentence(name: str) -> None:
    result = MixedLM.from_formula("y ~ x + (1 | g)", DATA).fit()
    assert not hasattr(result, name)
    with pytest.raises(AttributeError, match=rf"^{name} .*Use "):
        getattr(result, name)


def test_update_takes_arguments_of_fit() -> None:
    result = MixedLM.from_formula("y ~ x + (1 | g)", DATA).fit()
    assert not result.update("~ . + med", reml=False).reml
    assert result.update(ddf="residual").ddf == "residual"
    with pytest.raises(TypeError, match=r"^update\(\) got .*'wights'. Did you mean 'weights'"):
        result.update(wights="x")
