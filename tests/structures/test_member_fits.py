"""Rows that belong to several levels, and a Z of the user's, against reference numbers."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from places import DATA
from scipy import sparse
from simulation import quietly

from mixedlm_ext import MixedLM, MixedLMResults, RandomTerm, plots
from mixedlm_ext.errors import DesignError, DesignWarning, FitError, FormulaError

HERE = DATA / "members"
WEIGHTED = "mm(t1, t2, t3, weights=[w1, w2, w3])"
# formula, data, REML criterion, -2 log-likelihood, standard deviations (REML)
REFERENCE: dict[str, tuple[str, str, float, float, list[float]]] = {
    "weighted": (f"y ~ x + (1 | {WEIGHTED})", "pupils", 717.1908011, 712.70158801,
                 [0.860667, 1.14005]),
    "equal": ("y ~ x + (1 | mm(t1, t2, t3))", "pupils", 716.44027263, 712.00393463,
              [0.888363, 1.13714]),
    "sum": ("y ~ x + (1 | mm(t1, t2, t3, weights=1, normalize=False))", "pupils", 723.06287011,
            718.27867714, [0.428786, 1.16214]),
    "weighted and school": (f"y ~ x + (1 | {WEIGHTED}) + (1 | school)", "pupils", 696.07689752,
                            692.07023314, [0.839775, 0.523029, 1.0474]),
    "slopes": (f"y ~ x + (1 + x | {WEIGHTED}) + (1 | school)", "pupils", 690.35013513,
               687.10024061, [0.860606, 0.436947, 0.520088, 1.00129]),
    "one": ("y ~ x + (1 | mm(t1))", "pupils", 736.36124308, 731.35837941, [0.549646, 1.21026]),
    "dyads": ("y ~ 1 + (1 | mm(actor, partner, normalize=False))", "dyads", 565.71902937,
              565.68428725, []),
}  # fmt: skip


@cache
def frame(name: str) -> pd.DataFrame:
    return pd.read_csv(HERE / f"{name}.csv")


@cache
def fitted(name: str, reml: bool = True) -> MixedLMResults:
    formula, data, *_ = REFERENCE[name]
    return quietly(MixedLM.from_formula(formula, frame(data)), reml=reml)


@pytest.mark.parametrize("name", REFERENCE)
def test_fits_agree_with_the_reference(name: str) -> None:
    _, _, reml, ml, sds = REFERENCE[name]
    for criterion, expected in ((True, reml), (False, ml)):
        result = fitted(name, criterion)
        assert result.converged
        assert_allclose(result.objective, expected, rtol=0, atol=2e-7)
    if sds:
        assert_allclose(fitted(name).varcorr()["std_dev"], sds, atol=2e-5)


# ---------------------------------------------------------------- a user's Z


def spline(rotation: Any = None) -> RandomTerm:
    x = frame("curve")["x"].to_numpy()
    Z = np.maximum(x[:, None] - np.arange(1, 20) * 0.05, 0.0)
    return RandomTerm(Z=Z if rotation is None else Z @ rotation, name="knot")


def curve(*terms: RandomTerm) -> MixedLM:
    data = frame("curve")
    return MixedLM(data["y"], np.column_stack([np.ones(len(data)), data["x"]]), list(terms))


def test_a_spline_agrees_with_the_reference() -> None:
    result = curve(spline()).fit()
    assert_allclose(result.objective, 388.84846522, atol=2e-7)
    assert_allclose(result.varcorr()["std_dev"], [10.3812, 0.809174], rtol=1e-5)
    assert_allclose(curve(spline()).fit(reml=False).objective, 394.65949494, atol=2e-7)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((19, 19)))[0]
    turned = curve(spline(rotation)).fit()
    assert_allclose(turned.objective, result.objective, rtol=1e-11)
    assert_allclose(turned.fittedvalues, result.fittedvalues, atol=1e-5)
    beside = curve(spline(), RandomTerm(frame("curve")["site"])).fit()
    assert_allclose(beside.objective, 225.19879365, atol=2e-7)


def test_a_sparse_matrix_and_a_frame_are_taken_as_well() -> None:
    term = spline()
    whole = curve(term).fit()
    thin = curve(RandomTerm(Z=sparse.csc_array(term.Z), name="knot")).fit()
    assert_allclose(thin.objective, whole.objective, rtol=1e-13)
    labels = [f"k{j}" for j in range(19)]
    named = curve(RandomTerm(Z=pd.DataFrame(term.Z, columns=labels))).fit()
    assert list(named.random_effects["group"].index) == labels
    doubled = curve(RandomTerm(Z=2.0 * term.Z, names=labels)).fit()
    assert_allclose(doubled.objective, whole.objective, rtol=1e-11)
    assert_allclose(2.0 * doubled.varcorr()["std_dev"][0], whole.varcorr()["std_dev"][0], rtol=1e-4)


def test_new_rows_of_a_matrix_need_theirs() -> None:
    result, data = curve(spline()).fit(), frame("curve")
    X = np.column_stack([np.ones(5), data["x"][:5]])
    term = RandomTerm(Z=spline().Z[:5])
    assert_allclose(result.predict(X, random=[term]), result.fittedvalues[:5], atol=1e-9)
    with pytest.raises(DesignError, match="5 columns; the fit had 19"):
        result.predict(X, random=[RandomTerm(Z=spline().Z[:5, :5])])
    with pytest.raises(DesignError, match="the fit had Z="):
        result.predict(X, random=[RandomTerm(list("aabbc"))])
    again = quietly(MixedLM(data["y"], result.model.exog, result.model.random))
    assert_allclose(again.objective, result.objective, rtol=1e-12)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"Z": [np.ones((90, 2)), np.ones((90, 2))]}, "is a list of matrices"),
        ({"Z": np.full((90, 3), np.nan)}, "missing or infinite"),
        ({"Z": np.ones(90)}, "needs rows and columns"),
        ({"Z": [["a"]] * 90}, "no matrix of numbers"),
        ({"Z": np.eye(90, 3), "names": ["a", "b"]}, "3 columns; names= has 2"),
        ({"Z": np.eye(90, 3), "names": ["a", "b", "a"]}, "'a' twice"),
        ({"Z": np.eye(90, 3), "groups": ["a"] * 90}, "in place of groups"),
        ({"Z": np.eye(7, 3)}, "7 values; endog has"),
        ({}, "neither groups nor Z"),
    ],
)
def test_bad_matrices_are_refused_in_words(term: dict[str, Any], message: str) -> None:
    y = np.random.default_rng(0).standard_normal(90)
    with pytest.raises(DesignError, match=message):
        MixedLM(y, np.ones((90, 1)), [RandomTerm(**term)])


# ---------------------------------------------------------------- invariances


def pupils(formula: str, **columns: Any) -> MixedLMResults:
    return quietly(MixedLM.from_formula(formula, frame("pupils").assign(**columns)))


def test_one_member_is_the_plain_term() -> None:
    mm, plain = fitted("one"), pupils("y ~ x + (1 | t1)")
    assert_allclose(mm.objective, plain.objective, rtol=1e-12)
    ours = mm.random_effects["mm(t1)"]["Intercept"]
    assert_allclose(ours, plain.random_effects["t1"]["Intercept"], atol=1e-8)
    twice = pupils("y ~ x + (1 | mm(t1, t1))")
    assert_allclose(twice.objective, plain.objective, rtol=1e-12)


def test_the_order_of_members_does_not_matter() -> None:
    other = pupils("y ~ x + (1 | mm(t3, t1, t2, weights=[w3, w1, w2]))")
    assert_allclose(other.objective, fitted("weighted").objective, rtol=1e-12)
    split = pupils("y ~ x + (1 | mm(t1, t2, t3, t1, weights=[w1 / 2, w2, w3, w1 / 2]))")
    assert_allclose(split.objective, fitted("weighted").objective, rtol=1e-12)


def test_weights_are_divided_by_their_sum_unless_told_otherwise() -> None:
    formula = "y ~ x + (1 | mm(t1, t2, t3, weights=[5 * w1, 5 * w2, 5 * w3]{}))"
    tenfold, raw = pupils(formula.format("")), pupils(formula.format(", normalize=False"))
    assert_allclose(tenfold.objective, fitted("weighted").objective, rtol=1e-12)
    assert_allclose(raw.objective, fitted("weighted").objective, rtol=1e-11)
    ratio = tenfold.varcorr()["std_dev"][0] / raw.varcorr()["std_dev"][0]
    assert_allclose(ratio, 5.0, rtol=1e-4)


# ---------------------------------------------------------------- the oracle


def weights_of_rows(data: pd.DataFrame, levels: pd.Index) -> np.ndarray:
    W = np.zeros((len(data), len(levels)))
    for j in (1, 2, 3):
        for i, (teacher, w) in enumerate(zip(data[f"t{j}"], data[f"w{j}"])):
            if isinstance(teacher, str):
                W[i, levels.get_loc(teacher)] += w
    return W / W.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("reml", [True, False])
def test_criterion_and_derivatives_are_those_of_the_dense_oracle(reml: bool) -> None:
    """Each row is a level of its own, with the covariance WW'."""
    data = frame("pupils")
    result = fitted("slopes")
    W = weights_of_rows(data, result.random_effects["mm(t1, t2, t3)"].index)
    n, X = len(data), np.column_stack([np.ones(len(data)), data["x"]])
    school = np.unique(data["school"], return_inverse=True)[1]
    terms = [
        oracle.Term(X, np.arange(n), n, K=W @ W.T),
        oracle.Term(np.ones((n, 1)), school, school.max() + 1),
    ]
    y = data["y"].to_numpy()
    for theta in np.array([[0.8, -0.1, 0.4, 0.5], [0.8, 0.3, 0.0, 0.0]]):
        expected = oracle.objective(y, X, terms, theta, reml=reml)
        assert_allclose(result.model.objective(theta, reml=reml), expected, rtol=1e-11)
        slope = oracle.gradient(y, X, terms, theta, reml=reml)
        assert_allclose(result.model.score(theta, reml=reml), slope, atol=1e-6)
        curvature = oracle.hessian(y, X, terms, theta, reml=reml)
        found = result.model.hessian(theta, reml=reml)
        assert_allclose(found, curvature, atol=1e-6 * np.abs(curvature).max())
    best = oracle.estimates(y, X, terms, result.theta, reml=True)
    assert_allclose(result.fittedvalues, best.fitted, atol=1e-7)
    assert_allclose(result.leverage(), best.leverage, atol=1e-7)
    assert_allclose(result.bse**2, np.diag(best.cov_beta), rtol=1e-6)


# ---------------------------------------------------------------- through the house


def test_members_not_seen_have_no_share() -> None:
    result, data = fitted("weighted"), frame("pupils")
    new = data.iloc[[0, 1]].copy()
    new.loc[0, "t2"] = "nobody"
    b = result.random_effects["mm(t1, t2, t3)"]["Intercept"]
    first = new.iloc[0]
    fixed = result.params @ [1.0, first["x"]]
    share = first["w1"] / (first["w1"] + first["w2"])
    assert_allclose(result.predict(new).iloc[0], fixed + share * b[first["t1"]], atol=1e-10)
    assert_allclose(result.predict(new).iloc[1], result.fittedvalues.iloc[1], atol=1e-10)
    assert np.isnan(result.predict(new, new_levels="nan").iloc[0])
    with pytest.raises(DesignError, match="'nobody'"):
        result.predict(new, new_levels="error")
    seen, unseen = result.get_prediction(new).se_mean[[1, 0]]
    assert 0 < seen < unseen


def test_errors_of_prediction_are_those_of_the_oracle() -> None:
    data, result = frame("pupils"), fitted("weighted")
    W = weights_of_rows(data, result.random_effects["mm(t1, t2, t3)"].index)
    n, X, theta = len(data), np.column_stack([np.ones(len(data)), data["x"]]), result.theta[0]
    V = np.eye(n) + theta**2 * W @ W.T
    H = np.linalg.solve(V, X)
    cov = np.linalg.inv(X.T @ H)
    G = theta**2 * W @ W.T
    P = np.linalg.inv(V) - H @ cov @ H.T
    errors = G - G @ P @ G + X @ cov @ X.T - X @ cov @ H.T @ G - (X @ cov @ H.T @ G).T
    found = result.get_prediction(data).se_mean
    assert_allclose(found, result.sigma * np.sqrt(np.diag(errors)), rtol=1e-7)
    sd = result.random_effects_sd["mm(t1, t2, t3)"]["Intercept"]
    K = theta**2 * np.eye(W.shape[1])
    own = K - K @ W.T @ np.linalg.solve(V, W @ K)
    assert_allclose(sd, result.sigma * np.sqrt(np.diag(own)), rtol=1e-7)


def test_everything_after_the_fit() -> None:
    result, data = fitted("weighted and school"), frame("pupils")
    again = pickle.loads(pickle.dumps(result))
    assert_allclose(again.predict(data), result.fittedvalues, atol=1e-10)
    assert result.simulate(3, rng=1).shape == (len(data), 3)
    assert result.simulate(3, rng=1, exog=data, conditional=True).notna().all().all()
    assert_allclose(result.refit(2.0 * data["y"]).params, 2.0 * result.params, rtol=1e-6)
    assert len(result.ranova()) == 3 and np.isfinite(result.icc()["estimate"]).all()
    assert np.isfinite(result.residuals("normalized")).all()
    assert result.update("~ . - x").nobs == result.nobs
    assert "mm(t1, t2, t3)" in str(result.summary()) and str(result.check())
    assert np.isfinite(quietly(result.model, ddf="kenward-roger").bse).all()
    assert result.bootstrap(5, rng=1) is not None
    n = len(data)
    assert result.model.Z.shape == (n, len(result.random_effects["mm(t1, t2, t3)"]) + 8)
    b = np.concatenate([frame.to_numpy().ravel() for frame in result.random_effects.values()])
    fixed = result.model.exog @ result.params
    assert_allclose(fixed + result.model.Z @ b, result.fittedvalues, atol=1e-9)


def test_what_cannot_be_done_says_so() -> None:
    result = fitted("weighted")
    with pytest.raises(DesignError, match="belong to several levels"):
        result.influence("mm(t1, t2, t3)")
    with pytest.raises(FitError, match="kind='parametric'"):
        result.bootstrap(5, kind="wild")
    for draw in (plots.dotplot, plots.shrinkage):
        with pytest.raises(plots.PlotError, match="belong to several levels"):
            draw(result)
    assert plots.caterpillar(result).axes


# ---------------------------------------------------------------- bad members


@pytest.mark.parametrize(
    ("formula", "columns", "message"),
    [
        ("mm(t1, t2, weights=[w1, w2])", {"w1": -1.0}, "negative.*normalize=False"),
        ("mm(t1, t2, weights=[w1, w2])", {"w1": np.nan}, "weight of 't1' .* is missing"),
        ("mm(t1, t3, weights=[w1, w2])", {"w2": 1.0}, "weight 1 of 't3' .* has no member"),
        ("mm(t1, t2, weights=[w1, school])", {}, "weights of 't2' .* no numbers"),
    ],
)
def test_bad_weights_are_refused_in_words(
    formula: str, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(DesignError, match=message):
        MixedLM.from_formula(f"y ~ x + (1 | {formula})", frame("pupils").assign(**columns))


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("mm(t1, t2, weights=[w1])", "2 members and 1 weights"),
        ("mm(t1, t2, weights=w1)", "no list of one weight"),
        ("mm(t1, t2, normalize=1)", "True or False"),
        ("mm(t1, t2, scale=True)", "no option 'scale'"),
        ("mm()", "no grouping factor"),
        ("mm(t1, t2):school", r"mm\(\) stands alone"),
    ],
)
def test_bad_spellings_point_at_the_place(group: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        MixedLM.from_formula(f"y ~ x + (1 | {group})", frame("pupils"))


def test_rows_without_members_are_warned_of() -> None:
    data = frame("pupils").copy()
    data.loc[:1, ["t1", "t2", "t3"]] = None
    with pytest.warns(DesignWarning, match="2 rows have no member"):
        model = MixedLM.from_formula("y ~ x + (1 | mm(t1, t2, t3))", data)
    assert model.nobs == len(data)
