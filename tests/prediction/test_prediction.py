"""Predictions, their standard errors and degrees of freedom, against the dense oracle and lme4."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import oracle
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from simulation import Example, example, quietly

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, FitError, FormulaError, SingularFitWarning
from mixedlm_ext.prediction import error_variance

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"


@lru_cache
def load(name: str = "sleepstudy") -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


@lru_cache
def fit(formula: str = SLEEPSTUDY, name: str = "sleepstudy", **arguments: Any) -> Any:
    """A fit that is shared: tests must not change it."""
    return MixedLM.from_formula(formula, load(name)).fit(**arguments)


def refused(message: str, kind: type[Exception] = DesignError) -> Any:
    return pytest.raises(kind, match=re.escape(message))


def some_subjects() -> pd.DataFrame:
    days = [0, 5, 0, 5, 12]
    return pd.DataFrame({"Days": days, "Subject": ["308", "309", "nobody", "nobody", "nobody"]})


# ---------------------------------------------------------------- which random effects


@pytest.mark.parametrize(
    ("terms", "expected"),
    [  # lme4 1.1-31, predict(re.form=)
        ("(1 | Subject)", [253.663656, 263.342797, 357.925271]),
        ("~ (0 + Days | Subject)", [251.405105, 260.643132, 357.166877]),
    ],
)
def test_columns_of_a_term_by_formula(terms: str, expected: list[float]) -> None:
    new = pd.DataFrame({"Days": [0, 5, 9], "Subject": ["308", "309", "372"]})
    assert_allclose(fit().predict(new, terms=terms), expected, rtol=1e-6)
    assert_allclose(fit().predict(new, terms=[terms, terms]), expected, rtol=1e-6)


def test_terms_by_name_and_by_formula() -> None:
    r = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin")
    rows = load("penicillin").iloc[[0, 19, 76]]
    expected = [25.1592806, 21.9617459, 22.9583801]  # lme4 1.1-31, re.form = ~(1 | sample)
    for terms in ("sample", ["sample"], "(1|sample)", ["~(1 | sample)"]):
        assert_allclose(r.predict(rows, terms=terms), expected, rtol=1e-6)
        assert_allclose(r.predict(terms=terms).iloc[[0, 19, 76]], expected, rtol=1e-6)
        # the column of the other term is not needed
        assert_allclose(r.predict(rows[["sample"]], terms=terms), expected, rtol=1e-6)
    for both in (None, ["sample", "plate"], "(1 | plate) + (1 | sample)"):
        assert_allclose(r.predict(terms=both), r.fittedvalues)
    assert_allclose(r.predict(terms=[]), r.predict(which="population"))


def test_one_formula_for_several_terms() -> None:
    r = fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)")
    assert_allclose(r.predict(terms="(Days | Subject)"), r.fittedvalues)
    assert_allclose(r.predict(terms="(0 + Days | Subject)"), r.predict(terms="Subject.1"))
    nested = fit("score ~ Machine + (1 | Worker / Machine)", "machines")
    assert_allclose(
        nested.predict(terms="(1 | Machine:Worker)"), nested.predict(terms="Worker:Machine")
    )
    assert_allclose(nested.predict(terms="(1 | Worker/Machine)"), nested.fittedvalues)


def test_terms_of_arrays() -> None:
    X = np.column_stack([np.ones(180), load()["Days"]])
    random = [RandomTerm(load()["Subject"].to_numpy(), X, name="g", columns=["Intercept", "x"])]
    r = MixedLM(load()["Reaction"].to_numpy(), X, random).fit()
    expected = fit().predict(terms="(1 | Subject)")
    assert_allclose(r.predict(terms="(1 | g)"), expected, rtol=1e-6)
    assert_allclose(r.predict(X, terms="(1 | g)", random=random), expected, rtol=1e-6)
    assert_allclose(
        r.get_prediction(X, random=random).se_mean, fit().get_prediction().se_mean, rtol=1e-4
    )
    with refused("random= has no term 'g'"):
        two = MixedLM(load()["Reaction"].to_numpy(), X, [random[0], RandomTerm(np.arange(180) % 7)])
        result = quietly(two)
        result.predict(X, random={two.random_terms[1].name: RandomTerm(np.arange(180) % 7)})


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("Subjct", "no random term 'Subjct' (there are 'Subject'). Did you mean 'Subject'?"),
        ("(1 | Days)", "(1 | Days): the model has no random effects by 'Days'"),
        ("(np.log(Days) | Subject)", "the model has no random 'np.log(Days)' by 'Subject'"),
        ("Days + (1 | Subject)", "terms='Days + (1 | Subject)' has more than random terms."),
        ([1], "terms=[1] holds 1. Name random terms, such as 'Subject', or write them"),
    ],
)
def test_terms_that_are_not_there(terms: Any, message: str) -> None:
    with refused(message):
        fit().predict(terms=terms)
    with refused(message):
        fit().get_prediction(terms=terms)


def test_arguments_that_do_not_go_together() -> None:
    with refused("terms= chooses random effects, and which='population' leaves all of them out"):
        fit().predict(which="population", terms="Subject")
    with refused("offset= and random= belong to new rows."):
        fit().predict(offset=np.ones(180))
    with pytest.raises(FormulaError):
        fit().predict(terms="(1 | Subject")
    with refused("the fit has not seen the level of 'Subject' at row 2 (such rows: 3)"):
        fit().get_prediction(some_subjects(), new_levels="error")
    with refused("alpha=1.5 is no probability", FitError):
        fit().get_prediction().conf_int(alpha=1.5)


# ---------------------------------------------------------------- standard errors

EXAMPLES = {
    "slopes": example("nested", ["1x|g"], seed=1),
    "diagonal, weights": example("nested", ["1z||g"], weights=True, seed=2),
    "two terms of a factor": example("crossed", ["1|g", "z|g"], offset=True, seed=3),
    "crossed": example("crossed", ["1x|g", "1|h"], X="1xz", weights=True, offset=True, seed=4),
    "nested": example("nested", ["1|g", "1x|h", "1|i"], seed=5),
    "partly crossed": example("partial", ["1z|g", "1x||h", "1|i"], seed=6),
    "rank deficient": example("mixed", ["1|g", "1x|h"], X="1xd", seed=7),
    "no fixed effects": example("crossed", ["1x|g", "1|h"], X="", seed=8),
    "singular": example("crossed", ["1xz|g", "1|h"], seed=9, spread=0.1),
}


def dense(model: Example, r: Any) -> tuple[oracle.Estimates, np.ndarray, np.ndarray]:
    """The oracle's estimates at the fit's theta, and rows (x, z) of the data."""
    estimates = oracle.estimates(**model.dense, theta=r.theta, sigma=r.sigma)
    return estimates, model.X[:, estimates.kept], oracle.Z(model.terms)


@pytest.mark.parametrize("name", EXAMPLES)
def test_standard_errors(name: str) -> None:
    model = EXAMPLES[name]
    r = quietly(model.model())
    estimates, X, Z = dense(model, r)
    K = np.column_stack([X, Z])
    prediction = r.get_prediction()
    assert_allclose(prediction.predicted_mean, estimates.fitted, rtol=1e-6, atol=1e-8)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", K, estimates.joint_cov, K))
    assert_allclose(prediction.se_mean, expected, rtol=1e-6)
    w = np.ones(len(K)) if model.w is None else model.w
    assert_allclose(prediction.var_resid, r.sigma**2 / w)
    population = np.sqrt(np.einsum("ni,ij,nj->n", X, estimates.cov_beta, X))
    assert_allclose(r.get_prediction(which="population").se_mean, population, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, m in EXAMPLES.items() if len(m.terms) > 1])
def test_standard_errors_with_some_terms(name: str) -> None:
    """Random effects that are not asked for do not enter."""
    model = EXAMPLES[name]
    r = quietly(model.model())
    estimates, X, _ = dense(model, r)
    for i, term in enumerate(r.model.random_terms):
        Z = [oracle.term_Z(t) * (i == j) for j, t in enumerate(model.terms)]
        K = np.column_stack([X, *Z])
        expected = np.sqrt(np.einsum("ni,ij,nj->n", K, estimates.joint_cov, K))
        assert_allclose(r.get_prediction(terms=term.name).se_mean, expected, rtol=1e-6)


def test_factors_alike_in_the_fit_and_different_after() -> None:
    """Terms of two names for the same groups share a block; new rows may cross them."""
    rng = np.random.default_rng(3)
    codes, x = np.arange(60) % 10, rng.standard_normal(60)
    terms = (oracle.Term(np.ones((60, 1)), codes, 10), oracle.Term(x[:, None], codes, 10))
    X = np.column_stack([np.ones(60), x])
    y = X @ [1, 2] + 2 * rng.standard_normal(10)[codes] + rng.standard_normal(10)[codes] * x
    model = Example(y + rng.standard_normal(60), X, terms, ("g", "h"))
    r = quietly(model.model())
    joint = dense(model, r)[0].joint_cov
    K = np.zeros((40, 22))
    K[:, :2] = X[:40]
    K[:, 2 + 4] = 1.0  # level 4 of g
    K[:, 2 + 10 + 7] = x[:40]  # level 7 of h
    random = [
        RandomTerm(np.full(40, 4), name="g"),
        RandomTerm(np.full(40, 7), x[:40], name="h"),
    ]
    prediction = r.get_prediction(X[:40], random=random)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", K, joint, K))
    assert_allclose(prediction.se_mean, expected, rtol=1e-6)
    assert_allclose(prediction.df, df_of_the_oracle(model, r, K, np.zeros(40)), rtol=1e-4)


def test_few_rows_and_many_agree() -> None:
    """Either the blocks of the inverse or a solve for each row."""
    model = EXAMPLES["crossed"]
    r = quietly(model.model())
    random = [RandomTerm(t.codes[:1], t.X[:1], name=n) for t, n in zip(model.terms, model.names)]
    first = r.model.random_terms[0].name
    given = {"terms": first, "offset": 0, "weights": [2.0]}
    one = r.get_prediction(model.X[:1], random=random, **given)
    repeated = [RandomTerm(np.repeat(t.groups, 99), np.repeat(t.exog, 99, axis=0)) for t in random]
    given["weights"] = np.full(99, 2.0)
    many = r.get_prediction(np.repeat(model.X[:1], 99, axis=0), random=repeated, **given)
    assert_allclose(many.se_mean, np.repeat(one.se_mean, 99), rtol=1e-10)
    assert_allclose(many.df, np.repeat(one.df, 99), rtol=1e-8)


def test_published_standard_errors() -> None:
    """reference/README.md: sleepstudy by REML."""
    prediction = fit().get_prediction(some_subjects().head(2))
    assert_allclose(prediction.predicted_mean, [253.66367, 220.24444], rtol=1e-6)
    assert_allclose(prediction.se_mean, [12.25479, 8.01606], rtol=1e-5)
    population = fit().get_prediction(some_subjects().tail(3), which="population")
    assert_allclose(population.se_mean, [6.82456, 9.58124, 18.86348], rtol=1e-6)


def test_levels_not_seen() -> None:
    """The variance of a random effect is added to that of Xβ."""
    new = some_subjects()
    prediction = fit().get_prediction(new)
    fixed = fit().get_prediction(new, which="population").var_pred_mean[2:]
    z = np.column_stack([np.ones(3), new["Days"].tail(3)])
    expected = fixed + np.einsum("ni,ij,nj->n", z, fit().cov_re, z)
    assert_allclose(prediction.var_pred_mean[2:], expected)
    part = fit().get_prediction(new, terms="(1 | Subject)").var_pred_mean[2:]
    assert_allclose(part, fixed + fit().cov_re.iloc[0, 0])
    missing = fit().get_prediction(new, new_levels="nan").summary_frame()
    assert missing.isna().all(axis=1).tolist() == [False, False, True, True, True]


# ---------------------------------------------------------------- degrees of freedom


def df_of_the_oracle(model: Example, r: Any, K: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """2f²/(g'Ag) with the gradient of f in (θ, σ) by central differences."""

    def variance(parameters: np.ndarray) -> np.ndarray:
        theta, sigma = parameters[:-1], parameters[-1]
        C = oracle.estimates(**model.dense, theta=theta, sigma=sigma).joint_cov
        return np.einsum("ni,ij,nj->n", K, C, K) + sigma**2 * residual

    at = np.append(r.theta, r.sigma)
    steps = 1e-5 * np.eye(len(at))
    g = np.column_stack([(variance(at + h) - variance(at - h)) / 2e-5 for h in steps])
    H = oracle.information_in_theta_sigma(**model.dense, theta=r.theta, sigma=r.sigma)
    return 2 * variance(at) ** 2 / np.einsum("nj,jk,nk->n", g, 2 * np.linalg.inv(H), g)


REGULAR = {
    "slopes": example("nested", ["1x|g"], seed=11, spread=1.5),
    "two terms of a factor": example("crossed", ["1|g", "z|g"], offset=True, seed=11, spread=1.5),
    "crossed": EXAMPLES["crossed"],
    "partly crossed": EXAMPLES["partly crossed"],
}


@pytest.mark.parametrize("name", REGULAR)
def test_satterthwaite(name: str) -> None:
    model = REGULAR[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SingularFitWarning)
        r = model.model().fit()
    K = np.column_stack(dense(model, r)[1:])
    zero = np.column_stack([dense(model, r)[1], 0 * oracle.Z(model.terms)])
    none, w = np.zeros(len(K)), np.ones(len(K)) if model.w is None else model.w
    prediction = r.get_prediction()
    assert_allclose(prediction.df, df_of_the_oracle(model, r, K, none), rtol=1e-4)
    assert_allclose(prediction.df_obs, df_of_the_oracle(model, r, K, 1 / w), rtol=1e-4)
    population = r.get_prediction(which="population")
    assert_allclose(population.df, df_of_the_oracle(model, r, zero, none), rtol=1e-4)
    assert_allclose(population.df, r.ddf_method.t(r.model.exog), rtol=1e-6)
    assert_allclose(population.df_obs, df_of_the_oracle(model, r, zero, 1 / w), rtol=1e-4)


def test_satterthwaite_of_levels_not_seen() -> None:
    """With balanced groups the mean of a new group has the df of the mean square of groups."""
    r = fit("Yield ~ 1 + (1 | Batch)", "dyestuff")
    prediction = r.get_prediction({"Batch": ["new"]})
    # Var = σ²_b + (σ²_b + σ²/5)/6 in terms of the mean squares of batches and within
    within, between = r.scale, 5 * r.vcomp.iloc[0] + r.scale
    parts = np.array([7 / 30 * between, -within / 5])
    assert_allclose(prediction.var_pred_mean, parts.sum())
    df = parts.sum() ** 2 / (parts**2 / [5, 24]).sum()
    assert_allclose(prediction.df, df, rtol=1e-5)


def unseen_df(r: Any, model: Example, new: dict[str, np.ndarray]) -> np.ndarray:
    """The df of rows whose levels of some terms are new: 2f²/(g'Ag) by central differences.

    For each term, `new` has z (m, k) with codes (m,), -1 for a level not seen; x is model.X[:m].
    """
    codes = {name: c for name, (_, c) in new.items()}
    m = len(next(iter(codes.values())))
    x = model.X[:m]
    known, fresh = [x], []
    for term, name in zip(model.terms, (t.name for t in r.model.random_terms)):
        z, c = new[name]
        seen = np.where((c >= 0)[:, None], z, 0.0)
        known.append(oracle.term_Z(oracle.Term(seen, np.maximum(c, 0), term.levels)))
        fresh.append(np.where((c >= 0)[:, None], 0.0, z))
    K = np.column_stack(known)

    def variance(parameters: np.ndarray) -> np.ndarray:
        theta, sigma = parameters[:-1], parameters[-1]
        C = oracle.estimates(**model.dense, theta=theta, sigma=sigma).joint_cov
        out = np.einsum("ni,ij,nj->n", K, C, K)
        for z, term, part in zip(fresh, model.terms, oracle.split(model.terms, theta)):
            T = oracle.template(term, part)
            out = out + sigma**2 * np.sum((z @ T) ** 2, axis=1)
        return out

    at = np.append(r.theta, r.sigma)
    steps = 1e-5 * np.eye(len(at))
    g = np.column_stack([(variance(at + h) - variance(at - h)) / 2e-5 for h in steps])
    H = oracle.information_in_theta_sigma(**model.dense, theta=r.theta, sigma=r.sigma)
    return 2 * variance(at) ** 2 / np.einsum("nj,jk,nk->n", g, 2 * np.linalg.inv(H), g)


@pytest.mark.parametrize("name", REGULAR)
def test_satterthwaite_of_slopes_of_levels_not_seen(name: str) -> None:
    """Off-diagonal covariance parameters too; some terms may know their level, others not."""
    model = REGULAR[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SingularFitWarning)
        r = model.model().fit()
    rng = np.random.default_rng(1)
    m, new, random = 6, {}, []
    for i, (term, own) in enumerate(zip(model.terms, r.model.random_terms)):
        codes = term.codes[:m].copy()
        codes[i : i + 3] = -1
        z = np.column_stack([np.ones(m), 1 + rng.standard_normal((m, 2))])[:, : term.X.shape[1]]
        new[own.name] = (z, codes)
        random.append(RandomTerm(np.where(codes < 0, 99, codes), z, name=own.group))
    given = {"random": random, "weights": np.ones(m), "offset": 0}
    prediction = r.get_prediction(model.X[:m], **given)
    assert_allclose(prediction.df, unseen_df(r, model, new), rtol=1e-4)


def test_a_level_known_to_one_term_only() -> None:
    """Terms of one factor whose new row is the first level of one, and new for the other."""
    model = REGULAR["two terms of a factor"]
    r = quietly(model.model())
    first, second = r.model.random_terms
    z = np.array([[1.5]])
    new = {first.name: (z, np.array([-1])), second.name: (z, np.array([0]))}
    random = [RandomTerm([99], z, name=first.group), RandomTerm([0], z, name=second.group)]
    prediction = r.get_prediction(model.X[:1], random=random, weights=[1.0], offset=0)
    assert_allclose(prediction.df, unseen_df(r, model, new), rtol=1e-4)


def test_slopes_of_an_unseen_subject() -> None:
    data = load()
    X = np.column_stack([np.ones(180), data["Days"]])
    codes = pd.factorize(data["Subject"])[0]
    y = data["Reaction"].to_numpy()
    model = Example(y, X, (oracle.Term(X, codes, 18),), ("Subject",))
    new = {"Subject": (X[:6], np.full(6, -1))}
    prediction = fit().get_prediction({"Days": np.arange(6), "Subject": ["new"] * 6})
    assert_allclose(prediction.df, unseen_df(fit(), model, new), rtol=1e-4)


@pytest.mark.parametrize("name", ["crossed", "partly crossed", "two terms of a factor"])
def test_rows_are_taken_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right-hand sides that do not fit into memory at once."""
    model = REGULAR[name]
    r = quietly(model.model())
    q = r.fit_record.problem.cp.q
    whole = r.get_prediction()
    for rows in (1, 3, 39, 40, 41):
        monkeypatch.setattr(error_variance, "_CELLS", rows * q)
        pieces = r.get_prediction()
        for attribute in ("var_pred_mean", "df", "df_obs"):
            assert_allclose(getattr(pieces, attribute), getattr(whole, attribute), rtol=1e-10)


@pytest.mark.parametrize("ddf", ["kenward-roger", "residual", "normal"])
def test_other_methods(ddf: str) -> None:
    r = fit().with_ddf(ddf)
    prediction, population = r.get_prediction(), r.get_prediction(which="population")
    X = r.model.exog
    expected = {"kenward-roger": r.ddf_method.t(X), "residual": 178, "normal": np.inf}[ddf]
    for p in (prediction, population):
        assert_allclose(p.df, expected)
        assert_allclose(p.df_obs, expected)
    se = np.sqrt(np.einsum("ni,ij,nj->n", X, r.cov_params(), X))
    assert_allclose(population.se_mean, se)
    assert_allclose(population.se_mean[:2], r.t_test(X[:2]).sd.ravel())
    assert (prediction.se_mean > 0).all()


def test_fixed_sigma() -> None:
    r = fit(sigma=25.0)
    assert_allclose(r.get_prediction().var_resid, 625.0)
    assert np.isfinite(r.get_prediction().df).all()
    assert_allclose(
        r.get_prediction(which="population").df, r.ddf_method.t(r.model.exog), rtol=1e-8
    )


# ---------------------------------------------------------------- frames


def test_summary_frame() -> None:
    new = some_subjects().set_axis(list("abcde"))
    prediction = fit().get_prediction(new)
    frame = prediction.summary_frame(alpha=0.1)
    assert list(frame) == [
        "mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper",
    ]  # fmt: skip
    assert list(frame.index) == list("abcde")
    assert_allclose(frame["mean"], fit().predict(new))
    half = stats.t.ppf(0.95, prediction.df) * prediction.se_mean
    assert_allclose(frame["mean_ci_lower"], frame["mean"] - half)
    assert_allclose(prediction.conf_int(alpha=0.1)[:, 1], frame["mean_ci_upper"])
    half = stats.t.ppf(0.95, prediction.df_obs) * np.sqrt(prediction.se_mean**2 + fit().scale)
    assert_allclose(frame["obs_ci_upper"], frame["mean"] + half)
    for other in (pl.from_pandas(new.reset_index(drop=True)), new.to_dict("list")):
        assert_allclose(fit().get_prediction(other).summary_frame(0.1), frame)


def test_missing_values_stay_in_place() -> None:
    new = load().head(4).copy()
    new.iloc[1, new.columns.get_loc("Days")] = np.nan
    frame = fit().get_prediction(new).summary_frame()
    assert frame.isna().all(axis=1).tolist() == [False, True, False, False]
    whole = fit().get_prediction().summary_frame()
    assert_allclose(frame.dropna(), whole.iloc[[0, 2, 3]], rtol=1e-8)
    nothing = fit().get_prediction(new.iloc[[1]]).summary_frame()
    assert nothing.isna().all(axis=None)
    assert fit().get_prediction(new.head(0)).summary_frame().shape == (0, 6)


def test_weights_of_new_rows() -> None:
    data = load().assign(w=np.resize([1.0, 2.0, 4.0], 180))
    r = MixedLM.from_formula(SLEEPSTUDY, data, weights="w").fit()
    new = data.head(3)
    expected = r.scale / np.array([1.0, 2.0, 4.0])
    for prediction in (
        r.get_prediction(new),
        r.get_prediction(new, weights="w"),
        r.get_prediction(new[["Days", "Subject"]], weights=[1.0, 2.0, 4.0]),
    ):
        assert_allclose(prediction.var_resid, expected)
    assert_allclose(r.get_prediction().var_resid[:3], expected)
    assert_allclose(r.get_prediction(new[["Days", "Subject"]]).var_resid, r.scale)
    unknown = r.get_prediction(new, weights=[1.0, np.nan, 0.0])
    assert_allclose(unknown.var_resid, [r.scale, np.nan, np.inf])
    assert np.isfinite(unknown.se_mean).all()
    with refused("the new data have no column 'v' for weights="):
        r.get_prediction(new, weights="v")
    with refused("weights has a negative value: -1 at row 1"):
        r.get_prediction(new, weights=[1.0, -1.0, 1.0])


def test_the_data_are_not_needed() -> None:
    r = MixedLM.from_formula(SLEEPSTUDY, load()).fit()
    before = r.get_prediction(some_subjects()).summary_frame()
    r.remove_data()
    pd.testing.assert_frame_equal(r.get_prediction(some_subjects()).summary_frame(), before)
    with refused("the data of the fit were removed by remove_data()", FitError):
        r.get_prediction()


@pytest.mark.slow
def test_coverage() -> None:
    """95 % intervals cover 95 %, in data with few groups."""
    rng = np.random.default_rng(5)
    x, g = np.tile(np.linspace(-1, 1, 6), 8), np.repeat(np.arange(8), 6)
    new = {"x": [0.5, 0.5], "g": [3, 8]}  # a known group and a new one
    covered = []
    for _ in range(500):
        b = 1.5 * rng.standard_normal(9)
        y = 1 + 2 * x + b[g] + rng.standard_normal(48)
        r = quietly(MixedLM.from_formula("y ~ x + (1 | g)", {"y": y, "x": x, "g": g}))
        conditional, population = r.get_prediction(new), r.get_prediction(new, "population")
        truth = 2.0 + b[[3, 8]]
        limits = [conditional.conf_int(), conditional.conf_int(obs=True), population.conf_int()]
        values = [truth, truth + rng.standard_normal(2), np.array([2.0, 2.0])]
        covered.append([(lim.T[0] < v) & (v < lim.T[1]) for lim, v in zip(limits, values)])
    assert_allclose(np.mean(covered, axis=0), 0.95, atol=3.3 * np.sqrt(0.95 * 0.05 / 500))


# ---------------------------------------------------------------- lme4's predict


NEW = {"Days": [0, 5, 9], "Subject": ["308", "309", "new"]}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [  # lme4 1.1-31: random.only=, newparams=, re.form=; theta by columns of the triangle
        ({"random_only": True}, [2.25855095, -83.49714116, 0.0]),
        ({"random_only": True, "terms": "(0 + Days | Subject)"}, [0.0, -43.09840308, 0.0]),
        (
            {"newparams": {"theta": [1, 0.1, 0.5], "beta": [250, 10]}},
            [252.3362505, 150.8571971, 340.0],
        ),
        ({"newparams": {"beta": [250, 10]}}, [252.2585509, 216.5028588, 340.0]),
        (
            {"newparams": {"theta": [1, 0.1, 0.5]}, "terms": "(1 | Subject)"},
            [253.7413553, 261.9529835, 345.6106785],
        ),
    ],
)
def test_arguments_of_lme4(arguments: dict[str, Any], expected: list[float]) -> None:
    # lme4 stops at a theta that is good to five digits
    assert_allclose(fit().predict(NEW, **arguments), expected, rtol=1e-5)


def test_random_part_only() -> None:
    r = fit()
    parts = r.predict(random_only=True) + r.predict(which="population")
    assert_allclose(parts, r.fittedvalues)
    assert_allclose(
        r.get_prediction(NEW, random_only=True).predicted_mean, r.predict(NEW, random_only=True)
    )
    assert np.isnan(r.predict(NEW, random_only=True, new_levels="nan").iloc[2])
    for name in ("crossed", "two terms of a factor"):
        model = EXAMPLES.get(name) or REGULAR[name]
        r = quietly(model.model())
        estimates, X, Z = dense(model, r)
        K = np.column_stack([0 * X, Z])
        prediction = r.get_prediction(random_only=True)
        expected = np.sqrt(np.einsum("ni,ij,nj->n", K, estimates.joint_cov, K))
        assert_allclose(prediction.se_mean, expected, rtol=1e-6)
        assert_allclose(prediction.predicted_mean, r.predict(random_only=True))
        assert_allclose(prediction.df, df_of_the_oracle(model, r, K, np.zeros(len(K))), rtol=1e-3)
    offset = MixedLM.from_formula(SLEEPSTUDY, load(), offset=np.arange(180.0)).fit()
    assert_allclose(offset.predict(load(), random_only=True), offset.predict(random_only=True))
    with refused("random_only=True leaves nothing to predict without random effects"):
        fit().predict(NEW, which="population", random_only=True)
    with refused("random_only='yes' is not True or False"):
        fit().get_prediction(NEW, random_only="yes")


def test_other_parameters() -> None:
    r = fit()
    same = {"beta": r.params, "theta": r.theta}
    assert_allclose(r.predict(newparams=same), r.fittedvalues)
    assert_allclose(
        r.predict(newparams={"beta": {"Days": 0, "Intercept": 5}}, which="population"), 5
    )
    for given, message in [
        ({"sigma": 1.0}, "newparams has 'sigma'. Predictions depend on 'beta' and 'theta'."),
        ({"thta": [1, 0, 1]}, "Did you mean 'theta'?"),
        ({"theta": [1.0]}, "theta has shape (1,); this model has 3 covariance"),
        ({"beta": [1.0]}, "beta must hold 2 finite numbers"),
        ({"beta": {"x": 1}}, "beta has 'x', which is no fixed effect"),
        ([1.0, 2.0], "newparams is a list"),
    ]:
        with refused(message, FitError):
            r.predict(NEW, newparams=given)


# ---------------------------------------------------------------- arrays of weights and offsets


def test_array_weights_belong_to_their_rows() -> None:
    w = np.resize([1.0, 2.0, 4.0], 180)
    r = MixedLM.from_formula(SLEEPSTUDY, load(), weights=w).fit()
    X = np.column_stack([np.ones(180), load()["Days"]])
    random = [RandomTerm(load()["Subject"].to_numpy(), X)]
    arrays = MixedLM(load()["Reaction"].to_numpy(), X, random, weights=w).fit()
    message = "the fit had an array of weights; give those of the new rows: weights=..."
    with refused(message):
        r.get_prediction(load().head(3))
    with refused(message):
        r.simulate(exog=load().head(3))
    with refused(message):
        arrays.get_prediction(X, random=random)
    assert_allclose(r.get_prediction().var_resid, r.scale / w)
    assert_allclose(r.get_prediction(load().head(3), weights=w[:3]).var_resid, r.scale / w[:3])
    assert_allclose(r.get_prediction(load().assign(v=w), weights="v").var_resid, r.scale / w)
    assert_allclose(
        arrays.get_prediction(X, random=random, weights=w).var_resid, r.scale / w, rtol=1e-5
    )
    assert_allclose(r.predict(load().head(3)), r.fittedvalues[:3])  # a mean has no weight


def test_array_offsets_belong_to_their_rows() -> None:
    o = np.arange(180.0)
    r = MixedLM.from_formula(
        "Reaction ~ Days + offset(Days) + (1 | Subject)", load(), offset=o
    ).fit()
    X = np.column_stack([np.ones(180), load()["Days"]])
    random = [RandomTerm(load()["Subject"].to_numpy())]
    arrays = MixedLM(load()["Reaction"].to_numpy(), X, random, offset=o + X[:, 1]).fit()
    new, calls = load().head(3), (r.predict, r.get_prediction, r.augment, r.to_predictor().predict)
    for call in calls:
        with refused("the fit had an array as offset; give that of the new rows: offset=..."):
            call(new)
    with refused("the fit had an array as offset"):
        r.simulate(exog=new)
    with refused("the fit had an array as offset"):
        arrays.predict(X, random=random)
    assert_allclose(arrays.predict(X, random=random, offset=o + X[:, 1]), r.fittedvalues, rtol=1e-6)
    assert_allclose(
        arrays.predict(X, random=random, offset=0), r.fittedvalues - o - X[:, 1], rtol=1e-5
    )
    for offset in (o[:3], pd.Series(o[:3]), list(o[:3])):
        assert_allclose(r.predict(new, offset=offset), r.fittedvalues[:3])
        assert_allclose(r.augment(new, offset=offset)["fitted"], r.fittedvalues[:3])
        assert_allclose(r.to_predictor().predict(new, offset=offset), r.fittedvalues[:3])
    assert_allclose(r.predict(new.assign(v=o[:3]), offset="v"), r.fittedvalues[:3])
    assert_allclose(r.predict(new, offset=0), r.fittedvalues[:3] - o[:3])
    # an offset in the formula, or one by name, is found in the new data
    for fitted in (
        MixedLM.from_formula("Reaction ~ Days + offset(2 * Days) + (1 | Subject)", load()).fit(),
        MixedLM.from_formula(
            "Reaction ~ Days + (1 | Subject)", load().assign(o=o), offset="o"
        ).fit(),
    ):
        assert_allclose(fitted.predict(load().assign(o=o)), fitted.fittedvalues)
