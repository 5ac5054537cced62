"""The core estimates without a word, in threads too; the face warns, at the user's line."""

from __future__ import annotations

import ast
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import quietly
from statsmodels.tools.sm_exceptions import ConvergenceWarning

import mixedlm_ext
from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import DesignError, SingularFitWarning
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.search import optimize

PACKAGE = Path(mixedlm_ext.__file__).parent


@pytest.fixture(scope="module")
def flat_model() -> MixedLM:
    """Its variance is estimated as zero, and so is that of most simulated responses."""
    data = datasets.dyestuff2.load_pandas().data
    data["x"] = np.tile(np.arange(5.0), 6)
    return MixedLM.from_formula("Yield ~ x + (1 | Batch)", data)


@pytest.fixture(scope="module")
def flat(flat_model: MixedLM) -> Any:
    return quietly(flat_model)


# ---------------------------------------------------------------- the core


@pytest.mark.parametrize("reml", [True, False])
def test_estimate_is_the_fit_without_a_warning(flat_model: MixedLM, reml: bool) -> None:
    fit = estimate(flat_model.design, GaussianCriterion(flat_model.problem, reml))
    assert fit.singular_terms == (True,)
    expected = quietly(flat_model, reml=reml)
    assert_allclose(fit.objective, expected.objective, rtol=1e-12)
    results = flat_model.results_of(fit, "residual")
    assert_allclose(results.params, expected.params, rtol=1e-10)
    assert results.ddf == "residual" and results.reml is reml


def test_estimate_says_in_its_record_that_it_did_not_converge(flat_model: MixedLM) -> None:
    criterion = GaussianCriterion(flat_model.problem, True)
    fit = estimate(flat_model.design, criterion, np.array([30.0]), maxiter=1)
    assert fit.optimization.verdict == "iteration limit"
    _, log = optimize(criterion, np.array([30.0]), maxiter=1)
    assert log.message == fit.optimization.message


def test_estimate_refuses_a_random_effect_for_each_row() -> None:
    """Weights may be known precisions, but then sigma is known as well."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=12), "g": np.arange(12), "w": rng.uniform(1, 2, 12)})
    model = MixedLM.from_formula("y ~ 1 + (1 | g)", data, weights="w")
    assert estimate(model.design, GaussianCriterion(model.problem, True, 1.0)).fixed_sigma == 1.0
    with pytest.raises(DesignError, match="12 levels for 12 observations"):
        estimate(model.design, GaussianCriterion(model.problem, True))
    with pytest.raises(DesignError, match="12 levels for 12 observations"):
        model.fit()


# ---------------------------------------------------------------- threads


def _slope(results: Any) -> dict[str, float]:
    return {"slope": results.params["x"], "p": results.pvalues["x"], "t": results.tvalues["x"]}


def _without_x() -> Any:
    data = datasets.dyestuff2.load_pandas().data
    model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
    return model.results_of(estimate(model.design, GaussianCriterion(model.problem, reml=True)))


WORK: dict[str, Callable[[Any, int], Any]] = {
    "bootstrap": lambda r, n_jobs: r.bootstrap(24, rng=1, n_jobs=n_jobs),
    "statistic": lambda r, n_jobs: r.bootstrap(24, rng=1, statistic=_slope, n_jobs=n_jobs),
    "bca": lambda r, _: r.bootstrap(60, rng=1).conf_int(kind="bca"),
    "power": lambda r, n_jobs: r.model.power(
        "x = 0", [5, 0], covariances=[0.1], n=24, rng=1, n_jobs=n_jobs
    ),
    "comparison": lambda r, n_jobs: r.compare_bootstrap(_without_x(), 24, rng=1, n_jobs=n_jobs),
    "influence": lambda r, n_jobs: r.influence("Batch", refit=True, n_jobs=n_jobs).cooks_distance,
    "profile": lambda r, _: r.profile(["sigma", "x"]),
    "all_fit": lambda r, _: r.all_fit(["newton", "nelder-mead", "lbfgs"]),
    "fit_many": lambda r, n_jobs: r.model.fit_many(r.simulate(24, rng=1), n_jobs=n_jobs),
    "tests": lambda r, _: (r.t_test("x = 0"), r.wald_test("x = 0"), r.summary(), r.ranova()),
}


def filters() -> list[Any]:
    """The filters of the process, but those that pandas sets for a moment, in threads for good."""
    return [f for f in warnings.filters if f[0] != "always" or f[2] is not DeprecationWarning]


@contextmanager
def joblib_threads() -> Iterator[None]:
    """Let joblib run what it is given in two threads."""
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config(backend="threading", n_jobs=2):
        yield


@pytest.mark.parametrize("name", WORK)
def test_nothing_below_the_face_warns(flat: Any, name: str) -> None:
    """Any warning is an error here."""
    WORK[name](flat, 1)


@pytest.mark.parametrize("name", WORK)
def test_nothing_touches_the_filters(flat: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`catch_warnings` changes them for the whole process and is safe in one thread only."""
    WORK[name](flat, 1)  # imports done

    users = set()

    class Watched(warnings.catch_warnings):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            users.add(sys._getframe(1).f_globals["__name__"].partition(".")[0])
            super().__init__(*args, **kwargs)

    fresh = flat.model.results_of(flat.fit_record)
    with monkeypatch.context() as patch:
        patch.setattr(warnings, "catch_warnings", Watched)
        WORK[name](fresh, 1)
    assert users <= {"pandas"}  # around its conversions of types, for deprecations only


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("name", WORK)
def test_threads_leave_the_filters_alone(flat: Any, name: str) -> None:
    before = filters()
    tasks = [threading.Thread(target=WORK[name], args=(flat, 1)) for _ in range(2)]
    with joblib_threads():
        WORK[name](flat, 2)
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert filters() == before
    with pytest.warns(SingularFitWarning):
        flat.model.fit()
    with pytest.warns(ConvergenceWarning):
        flat.model.fit(maxiter=1, start_params=[30.0])


def test_threads_find_the_same_numbers() -> None:
    """Nothing that the fits of one model share is written to."""
    data = datasets.penicillin.load_pandas().data
    results = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data).fit()
    for statistic in (None, lambda r: {"sigma": r.sigma, "p": r.pvalues["Intercept"]}):
        alone = results.bootstrap(22, rng=1, statistic=statistic)
        with joblib_threads():
            together = results.bootstrap(22, rng=1, statistic=statistic, n_jobs=2)
        pd.testing.assert_frame_equal(alone.replicates, together.replicates, check_exact=True)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_the_source_does_not_change_filters(path: Path) -> None:
    """But for the command line, whose process is its own."""
    if path.parent.name == "shell":
        return
    names = {
        node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not names & {"catch_warnings", "simplefilter", "filterwarnings", "resetwarnings"}


# ---------------------------------------------------------------- the face


@pytest.mark.parametrize(
    "call",
    [
        lambda r: r.model.fit(),
        lambda r: r.refit(r.model.endog),
        lambda r: r.refit_ml(),
        lambda r: r.update("~ . - x"),
    ],
    ids=["fit", "refit", "refit_ml", "update"],
)
def test_the_face_warns_once_at_the_line_of_the_user(flat: Any, call: Callable[[Any], Any]) -> None:
    with pytest.warns(SingularFitWarning, match=r"\(1 \| Batch\) is singular") as caught:
        call(flat)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]


def test_a_search_that_failed_is_warned_of_first(flat_model: MixedLM) -> None:
    with pytest.warns(ConvergenceWarning, match="did not converge: stopped after 1") as caught:
        flat_model.fit(maxiter=1, start_params=[30.0])
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "residual", "normal"])
def test_standard_errors_and_p_values_are_statsmodels(ddf: str) -> None:
    """By the formulas of statsmodels' own properties, which change filters."""
    from statsmodels.base.model import LikelihoodModelResults as base

    data = datasets.sleepstudy.load_pandas().data
    results = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit(ddf=ddf)
    for name in ("bse", "tvalues", "pvalues"):
        expected = getattr(base, name).fget(results._results)
        found = getattr(results, name)
        assert_allclose(found, expected, rtol=1e-13)
        assert found.index.tolist() == ["Intercept", "Days"]
