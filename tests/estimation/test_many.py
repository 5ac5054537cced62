"""Many responses at once: against single fits, the single criterion and the dense oracle."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import Example, example, quietly, thetas
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.many import LevelClasses, ManyCriteria
from mixedlm_ext.criteria.pls import problem_with
from mixedlm_ext.errors import DesignError, FitError, SingularFitWarning
from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.many import Refitter, warm_start
from mixedlm_ext.products.responses import Reduction
from mixedlm_ext.search import optimize

Array = np.ndarray

ONE_FACTOR = {
    "intercept": example("nested", ["1|g"]),
    "slopes": example("nested", ["1x|g"], weights=True, offset=True, seed=2),
    "three columns": example("nested", ["1xz|h"], n=90, seed=3),
    "diagonal": example("nested", ["1xz||g"], n=90, weights=True, seed=4),
    "two terms on one factor": example("nested", ["1|g", "x|g"], seed=5),
    "no fixed effects": example("nested", ["1x|g"], X="", seed=6),
    "dependent columns": example("nested", ["1|g"], X="1xd", seed=7),
}


@pytest.fixture(scope="module")
def model(sleepstudy: pd.DataFrame) -> MixedLM:
    return MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", sleepstudy)


def responses(case: Example, r: int, seed: int = 100) -> Array:
    """The response of an example, and others with more and less between the levels."""
    rng = np.random.default_rng(seed)
    Z = oracle.Z(case.terms)
    out = [case.y]
    for i in range(r - 1):
        noise = rng.standard_normal(len(case.y)) / (1.0 if case.w is None else np.sqrt(case.w))
        out.append(case.y * (i % 2) + (i % 3) * Z @ rng.standard_normal(Z.shape[1]) + noise)
    return np.column_stack(out)


# ---------------------------------------------------------------- the criterion


@pytest.mark.parametrize("sigma", [None, 0.7])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("case", ONE_FACTOR.values(), ids=list(ONE_FACTOR))
def test_criterion_and_derivatives_are_those_of_one_response(
    case: Example, reml: bool, sigma: float | None
) -> None:
    model = case.model()
    problem = model.problem
    Y = responses(case, 4)
    reduced = Reduction(model.design, problem.cp.layout)(Y)
    many = ManyCriteria.of(problem, LevelClasses(problem.cp), reduced, reml, sigma)
    for theta in thetas(case).values():
        standard = problem.covariance.standardize(theta)
        found = many.at(np.repeat(standard[:, None], 4, axis=1))
        for r in range(4):
            one = GaussianCriterion(problem_with(problem, reduced, r), reml, sigma).at(standard)
            assert_allclose(found.value[r], one.value, rtol=1e-11)
            assert_allclose(found.scale[r], one.scale, rtol=1e-9)
            assert_allclose(found.beta[:, r], one.pls.beta, rtol=1e-8, atol=1e-9)
            size = np.abs(one.gradient).max() + 1e-3
            assert_allclose(found.gradient[:, r], one.gradient, atol=1e-8 * size)
            size = np.abs(one.hessian_model).max()
            assert_allclose(found.hessian[:, :, r], one.hessian_model, atol=1e-8 * size)


@pytest.mark.parametrize("reml", [True, False])
def test_criterion_is_the_dense_one(reml: bool) -> None:
    case = ONE_FACTOR["slopes"]
    problem = case.model().problem
    Y = responses(case, 3)
    reduced = Reduction(case.model().design, problem.cp.layout)(Y)
    many = ManyCriteria.of(problem, LevelClasses(problem.cp), reduced, reml, None)
    rng = np.random.default_rng(1)
    theta = rng.standard_normal((case.n_theta, 3))  # another theta for each response
    found = many.at(problem.covariance.jacobian @ theta)
    for r in range(3):
        dense = {**case.dense, "y": Y[:, r]}
        assert_allclose(found.value[r], oracle.objective(**dense, theta=theta[:, r], reml=reml))


def test_balanced_levels_are_one_class(model: MixedLM) -> None:
    assert len(LevelClasses(model.problem.cp).count) == 1


def test_an_extreme_theta_gives_nan_not_an_error() -> None:
    case = ONE_FACTOR["intercept"]
    model = case.model()
    reduced = Reduction(model.design, model.problem.cp.layout)(case.y[:, None])
    many = ManyCriteria.of(model.problem, LevelClasses(model.problem.cp), reduced, True, None)
    assert np.isnan(many.at(np.array([[np.inf]])).value).all()


# ---------------------------------------------------------------- the fits


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("case", ONE_FACTOR.values(), ids=list(ONE_FACTOR))
def test_fits_are_those_of_single_models(case: Example, reml: bool) -> None:
    Y = responses(case, 12)
    many = case.model().fit_many(Y, reml=reml)
    assert many.converged.all()
    for r in range(12):
        single = quietly(Example(Y[:, r], *_rest(case)).model(), reml=reml)
        assert_allclose(many.objective[r], single.objective, atol=1e-8)
        assert_allclose(many.sigma[r], single.sigma, rtol=1e-5)
        assert_allclose(many.params.loc[r], single.params, rtol=1e-4, atol=1e-5)
        assert_allclose(many.bse.loc[r], single.bse, rtol=1e-4)


def _rest(case: Example) -> tuple[Any, ...]:
    return case.X, case.terms, case.names, case.w, case.offset


def test_a_fixed_sigma(model: MixedLM) -> None:
    Y = np.column_stack([model.endog, model.endog[::-1]])
    many = model.fit_many(Y, sigma=30.0)
    single = quietly(model, sigma=30.0)
    assert_allclose(many.objective[0], single.objective, atol=1e-8)
    assert_allclose(many.theta.loc[0], single.theta, rtol=1e-5)
    assert (many.sigma == 30.0).all()


def test_crossed_factors_have_a_search_each() -> None:
    data = datasets.penicillin.load_pandas().data
    model = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    Y = np.column_stack([data["diameter"], np.random.default_rng(0).standard_normal(len(data))])
    many = model.fit_many(Y)
    single = model.fit()
    assert_allclose(many.objective[0], single.objective, rtol=1e-12)
    assert_allclose(many.components.loc[0, "sd(plate, Intercept)"], 0.8467, atol=1e-4)
    assert_allclose(many.theta.loc[0], single.theta, rtol=1e-6)


def test_published_estimates(model: MixedLM) -> None:
    many = model.fit_many(model.endog[:, None], reml=False)
    assert_allclose(many.objective[0], 1751.9393444636682, atol=1e-7)
    assert_allclose(many.theta.loc[0], [0.92922972, 0.01816466, 0.22264601], atol=1e-5)


def test_chunks_do_not_matter(model: MixedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    Y = model.simulate([250, 10], covariances=[np.diag([600.0, 35.0])], sigma=25, n=30, rng=1)
    whole = model.fit_many(Y)
    monkeypatch.setattr(Refitter, "chunk", 7)
    parts = model.fit_many(Y)
    assert_allclose(parts.params, whole.params, rtol=1e-7)
    assert_allclose(parts.objective, whole.objective, atol=1e-8)


def test_frames_have_the_names(model: MixedLM, sleepstudy: pd.DataFrame) -> None:
    Y = sleepstudy[["Reaction"]].assign(other=sleepstudy["Reaction"] ** 0.5)
    many = model.fit_many(Y)
    for frame in (many.params, many.bse, many.theta, many.components, many.tvalues):
        assert frame.index.tolist() == ["Reaction", "other"]
    assert many.params.columns.tolist() == ["Intercept", "Days"]
    assert many.components.columns.tolist() == [
        "sd(Subject, Intercept)",
        "sd(Subject, Days)",
        "cor(Subject, Intercept, Days)",
        "sigma",
    ]
    assert len(many) == 2 and "2 responses, 0 not converged" in repr(many)


def test_result_of_one_response(model: MixedLM, sleepstudy: pd.DataFrame) -> None:
    Y = sleepstudy[["Reaction"]].assign(other=1000 / sleepstudy["Reaction"])
    many = model.fit_many(Y)
    one = many.result("other", ddf="normal")
    assert one.model.endog_names == "other" and one.ddf == "normal"
    assert_allclose(one.objective, many.objective["other"], atol=1e-8)
    with pytest.raises(FitError, match="no response 'third'"):
        many.result("third")


def test_pickles(model: MixedLM) -> None:
    many = pickle.loads(pickle.dumps(model.fit_many(model.endog[:, None])))
    assert_allclose(many.result(0).objective, 1743.6282719, rtol=1e-9)


def test_several_processes_give_the_same(model: MixedLM) -> None:
    pytest.importorskip("joblib")
    Y = np.column_stack([model.endog, model.endog**0.5])
    pd.testing.assert_frame_equal(
        model.fit_many(Y, n_jobs=2).params, model.fit_many(Y).params, check_exact=True
    )


def test_rows_that_the_model_left_out(sleepstudy: pd.DataFrame) -> None:
    holes = sleepstudy.copy()
    holes.loc[[3, 50], "Days"] = np.nan
    model = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", holes)
    whole = model.fit_many(sleepstudy[["Reaction"]])  # a row for each row of the data
    used = model.fit_many(sleepstudy[["Reaction"]].drop([3, 50]))
    assert_allclose(whole.objective, used.objective)
    assert_allclose(whole.objective.iloc[0], model.fit().objective)


def test_a_response_without_residuals_is_counted() -> None:
    data = datasets.dyestuff.load_pandas().data
    model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
    perfect = model.design.terms[0].codes.astype(float)
    Y = pd.DataFrame({"good": data["Yield"], "perfect": perfect})
    with pytest.warns(ConvergenceWarning, match="1 of 2 responses did not converge: 'perfect'"):
        many = model.fit_many(Y)
    assert many.converged.tolist() == [True, False]
    assert_allclose(many.objective["good"], 319.6542768422576)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Y: Y.assign(b=np.where(np.arange(180) == 7, np.nan, 1.0)), "missing.*: 'b'"),
        (lambda Y: Y.assign(b=3.0), "1 of 2 responses are constant: 'b'"),
        (lambda Y: Y.assign(b="text"), "'b' is not numeric"),
        (lambda Y: Y.iloc[:100], "Y has 100 rows; the fit used 180"),
        (lambda Y: Y.set_index(Y.index + 1), "the index of Y does not have the labels .*such as 0"),
        (lambda Y: Y["a"], "Y has shape"),
        (lambda Y: Y[[]], "Y has shape"),
    ],
)
def test_bad_responses(model: MixedLM, change: Any, message: str) -> None:
    Y = pd.DataFrame({"a": model.endog}, index=model.design.index)
    with pytest.raises(DesignError, match=message):
        model.fit_many(change(Y))


@pytest.mark.parametrize("n_jobs", [0, 1.5, True, None])
def test_bad_number_of_processes(model: MixedLM, n_jobs: Any) -> None:
    with pytest.raises(FitError, match="n_jobs"):
        model.fit_many(model.endog[:, None], n_jobs=n_jobs)


def test_thousands_of_responses_agree_with_single_fits(model: MixedLM) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        Y = model.simulate([250, 10], covariances=[np.diag([60.0, 3.0])], sigma=25, n=2000, rng=5)
        many = model.fit_many(Y)
        for r in range(0, 2000, 40):  # many of them singular
            assert_allclose(many.objective[r], many.result(r).objective, atol=1e-8)
            single = model.with_response(Y[r]).fit()
            assert_allclose(many.objective[r], single.objective, atol=1e-8)


# ---------------------------------------------------------------- bookkeeping


def test_joined_failures_keep_their_place() -> None:
    parts = [Estimates.missing(3, 2, 1), Estimates.missing(4, 2, 1), Estimates.missing(2, 2, 1)]
    parts[0].failures.update({1: "a"})
    parts[1].failures.update({0: "b", 3: "c"})
    parts[2].failures.update({1: "d"})
    for i, part in enumerate(parts):
        part.sigma[:] = i
    joined = Estimates.join(parts)
    assert joined.failures == {1: "a", 3: "b", 6: "c", 8: "d"}
    assert joined.sigma.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_some_of_many_are_written_over_and_struck() -> None:
    whole, part = Estimates.missing(4, 2, 1), Estimates.missing(2, 2, 1)
    for name in ("theta", "beta", "bse", "sigma", "objective"):
        getattr(part, name)[:] = 3.0
    part.converged[:] = True
    part.failures[1] = "late"
    whole.put([3, 0], part)
    assert whole.sigma.tolist()[::3] == [3.0, 3.0] and np.isnan(whole.sigma[1:3]).all()
    assert whole.converged.tolist() == [True, False, False, True]
    assert whole.failures == {0: "late"}
    whole.strike([3], "reproduced")
    for name in ("theta", "beta", "bse", "sigma", "objective"):
        assert np.isnan(getattr(whole, name)[1:]).all() and (getattr(whole, name)[0] == 3.0).all()
    assert whole.converged.tolist() == [True, False, False, False]
    assert whole.failures == {0: "late", 3: "reproduced"}


def test_failures_are_named_after_their_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the chunk that a response was fitted in."""
    data = datasets.penicillin.load_pandas().data
    model = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    Y = pd.DataFrame({name: data["diameter"] * (1 + i) for i, name in enumerate("abcdefg")})
    calls: list[GaussianCriterion] = []

    def fail_twice(criterion: GaussianCriterion, *arguments: Any, **options: Any) -> Any:
        calls.append(criterion)
        if len(calls) in (4, 6):
            raise FitError(f"call {len(calls)}")
        return optimize(criterion, *arguments, **options)

    monkeypatch.setattr("mixedlm_ext.many.refitter._ONE_BY_ONE", 2)
    monkeypatch.setattr("mixedlm_ext.many.refitter.optimize", fail_twice)
    with pytest.warns(ConvergenceWarning, match="2 of 7 responses did not converge: 'd', 'f'"):
        many = model.fit_many(Y)
    assert many.failures.to_dict() == {"d": "call 4", "f": "call 6"}
    assert many.sigma.index[many.sigma.isna()].tolist() == ["d", "f"]
    assert_allclose(many.sigma["g"] / many.sigma["a"], 7.0, rtol=1e-6)


def test_a_warm_start_keeps_variances_off_zero(model: MixedLM) -> None:
    """At zero the criterion is stationary; correlations and what is larger stay as they are."""
    problem = model.problem
    covariance = problem.covariance
    diagonal = covariance.rows == covariance.columns
    for theta in ([0.0, 0.0, 0.0], [0.9, -0.4, 0.0], [1e-9, 0.0, 2.0]):
        exact = covariance.standardize(np.array(theta))
        start = warm_start(problem, np.array(theta))
        assert_allclose(start[diagonal], np.maximum(exact[diagonal], 0.05))
        assert_allclose(start[~diagonal], exact[~diagonal])


@pytest.mark.parametrize("other", ["", " + (1 | h)"])
def test_after_a_variance_of_zero_others_are_found(other: str) -> None:
    """Refits start from the estimates of another response, here exactly zero."""
    flat = datasets.dyestuff2.load_pandas().data.assign(h=np.tile(np.arange(5), 6))
    y = datasets.dyestuff.load_pandas().data["Yield"]
    model = MixedLM.from_formula(f"Yield ~ 1 + (1 | Batch){other}", flat)
    expected = quietly(model.with_response(y))
    covariance = model.problem.covariance
    zero = np.zeros(covariance.n_theta)
    refitter = Refitter(model.design, model.problem, True, start=warm_start(model.problem, zero))
    found = refitter.fit(y.to_numpy(dtype=float)[:, None])
    assert_allclose(found.objective[0], expected.objective, rtol=1e-9)
    assert_allclose(found.theta[0], expected.theta, atol=1e-4)
