"""The search for the optimum: it is the optimum, from anywhere, in few steps, and it says so."""

from __future__ import annotations

import warnings

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import Example, example, fit, quietly
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, MixedLMError

METHODS = ["bobyqa", "nelder-mead", "powell", "bfgs", "lbfgs"]
REML = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])


def load(name: str) -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


FORMULAS = {
    "dyestuff": "Yield ~ 1 + (1 | Batch)",
    "dyestuff2": "Yield ~ 1 + (1 | Batch)",
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
    "pastes": "strength ~ 1 + (1 | batch/cask)",
    "machines": "score ~ Machine + (Machine | Worker)",
    "oats": "Q('yield') ~ nitro * Variety + (nitro | Block) + (1 | Block:Variety)",
}
each_data_set = pytest.mark.parametrize("name", FORMULAS)


# ---------------------------------------------------------------- the same optimum by other means


@REML
@pytest.mark.parametrize("method", METHODS)
@each_data_set
def test_other_methods_agree(name: str, method: str, reml: bool) -> None:
    newton = fit(FORMULAS[name], load(name), reml=reml)
    other = fit(FORMULAS[name], load(name), reml=reml, method=method)
    assert newton.converged
    assert other.converged
    assert other.optimization.method == method
    assert newton.objective <= other.objective + 1e-8
    assert_allclose(other.objective, newton.objective, atol=2e-5)
    # A method that compares values of the criterion sees theta to about the root of their noise.
    assert_allclose(other.theta, newton.theta, rtol=2e-2, atol=5e-3)


SIMULATED = [
    ("partial", ["1|g"]),
    ("nested", ["1|h", "1|g"]),
    ("crossed", ["1|g", "1|h"]),
    ("partial", ["1x|h"]),
    ("mixed", ["1|g", "1z|i"]),
    ("partial", ["1xz|h"]),
    ("partial", ["1x|h", "1z|g"]),
    ("partial", ["1x||g", "1|h", "1|i"]),
]


@REML
@pytest.mark.parametrize("spread", [1.0, 0.2, 0.0], ids=["large", "small", "none"])
@pytest.mark.parametrize(("kind", "terms"), SIMULATED, ids=lambda x: str(x).replace("'", ""))
def test_as_good_as_the_oracle(kind: str, terms: list[str], spread: float, reml: bool) -> None:
    """With random effects that are large, small, or not there (mostly singular)."""
    this = example(kind, terms, spread=spread, weights=True, seed=11)
    result = quietly(this.model(), reml=reml)
    _, best = oracle.minimise(**this.dense, reml=reml)
    assert result.converged
    assert result.objective <= best + 1e-6
    assert_allclose(result.objective, best, atol=1e-5)
    at_theta = oracle.objective(**this.dense, theta=result.theta, reml=reml)
    assert_allclose(result.objective, at_theta, rtol=1e-9)


def maximal(factors: int, subjects: int, items: int, rank: int, seed: int) -> MixedLM:
    """A factorial design within subjects and items, all effects random in both, of low rank."""
    rng = np.random.default_rng(seed)
    subject, item = np.divmod(np.arange(subjects * items), items)
    condition = (subject + item) % 2**factors
    columns = [np.ones(len(subject))]
    for bit in range(factors):
        columns += [c * np.where(condition >> bit & 1, 0.5, -0.5) for c in columns]
    X = np.column_stack(columns)
    k = X.shape[1]
    y = X @ rng.standard_normal(k) + rng.standard_normal(len(subject))
    for codes, levels in ((subject, subjects), (item, items)):
        T = 0.5 * rng.standard_normal((k, rank))
        b = rng.standard_normal((levels, rank)) @ T.T
        y = y + np.einsum("nk,nk->n", X, b[codes])
    return MixedLM(y, X, [RandomTerm(subject, X, "subject"), RandomTerm(item, X, "item")])


@pytest.mark.slow
@REML
@pytest.mark.parametrize("seed", range(3))
def test_maximal_model(seed: int, reml: bool) -> None:
    """72 parameters, 8 × 8 templates of true rank 2: singular, and found in few evaluations."""
    result = quietly(maximal(3, 56, 32, 2, seed), reml=reml)
    assert len(result.theta) == 72
    assert result.singular
    assert result.converged
    assert result.optimization.evaluations <= 28


@pytest.mark.slow
def test_nothing_better_near_a_maximal_model() -> None:
    """L-BFGS, from beside the optimum."""
    model = maximal(3, 56, 32, 2, seed=1)
    result = quietly(model)
    start = result.theta + 0.1 * np.random.default_rng(1).standard_normal(72)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        lbfgs = quietly(model, method="lbfgs", start_params=start, maxiter=40)
    assert result.objective <= lbfgs.objective + 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_singular_model_of_20_parameters(seed: int) -> None:
    model = maximal(2, 30, 20, 1, seed)
    result, lbfgs = quietly(model), quietly(model, method="lbfgs")
    assert len(result.theta) == 20
    assert result.singular
    assert result.converged
    assert result.objective <= lbfgs.objective + 1e-6
    assert result.optimization.evaluations <= 28


# ---------------------------------------------------------------- starts, the log, the verdict


@pytest.mark.parametrize("start", [0.01, 100.0, 0.0, -1.0])
@each_data_set
def test_far_starts(name: str, start: float) -> None:
    """Zero is a stationary point: the search has to see that it is a saddle and leave it."""
    best = fit(FORMULAS[name], load(name))
    terms = best.model.random_terms
    theta = np.concatenate([np.eye(len(t.columns))[np.triu_indices(len(t.columns))] for t in terms])
    result = fit(FORMULAS[name], load(name), start_params=start * theta)
    assert result.converged
    assert_allclose(result.objective, best.objective, atol=1e-6)
    assert_allclose(result.theta, best.theta, rtol=1e-3, atol=1e-3)


@REML
def test_zero_stays_where_it_is_the_minimum(reml: bool) -> None:
    result = fit(FORMULAS["dyestuff2"], load("dyestuff2"), reml=reml, start_params=[0.0])
    assert result.converged
    assert result.singular
    assert result.theta[0] == 0.0


def test_start_at_the_optimum() -> None:
    best = fit(FORMULAS["sleepstudy"], load("sleepstudy"))
    again = fit(FORMULAS["sleepstudy"], load("sleepstudy"), start_params=best.theta)
    assert again.converged
    assert again.optimization.evaluations <= 3
    assert_allclose(again.theta, best.theta, rtol=1e-6)


@each_data_set
def test_the_log(name: str) -> None:
    result = fit(FORMULAS[name], load(name))
    log = result.optimization
    assert log.verdict == "converged"
    assert log.method == "newton"
    assert len(log.objective) == len(log.theta) <= log.evaluations
    assert (np.diff(log.objective) <= 1e-9).all()
    assert log.objective[-1] == pytest.approx(result.objective, abs=1e-9)
    assert_allclose(np.abs(log.theta[-1]), np.abs(result.theta), atol=1e-10)
    first = result.model.objective(log.theta[0])
    assert_allclose(first, log.objective[0], rtol=1e-12)
    assert 0 <= log.predicted_decrease <= 1e-8
    assert np.linalg.eigvalsh(result.model.hessian(result.theta)).min() > -1e-5


def test_progress_is_reported() -> None:
    seen: list[tuple[int, float]] = []
    result = fit(
        FORMULAS["sleepstudy"],
        load("sleepstudy"),
        progress=lambda n, value: seen.append((n, value)),
    )
    assert [value for _, value in seen] == list(result.optimization.objective)


def test_iteration_limit() -> None:
    model = MixedLM.from_formula(FORMULAS["sleepstudy"], load("sleepstudy")[7:])
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        result = model.fit(maxiter=2)
    assert not result.converged
    assert result.optimization.verdict == "iteration limit"
    assert result.optimization.evaluations == 2
    assert "maxiter" in result.optimization.message


# ---------------------------------------------------------------- a residual scale that is known


def bcg() -> pd.DataFrame:
    """Log risk ratios of 13 trials of BCG vaccine and their variances (Colditz et al. 1994)."""
    cases = [4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27]
    others = [119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886]
    controls = [11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29]
    healthy = [128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825]
    a, b, c, d = (np.array(x, dtype=float) for x in (cases, others, controls, healthy))
    v = 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
    y = np.log(a / (a + b)) - np.log(c / (c + d))
    return pd.DataFrame({"y": y, "w": 1 / v, "study": [f"trial {i}" for i in range(13)]})


def test_meta_analysis() -> None:
    """metafor's documentation: rma(yi, vi, data=dat.bcg) has tau2 0.3132, -0.7145 (se 0.1798)."""
    result = fit("y ~ 1 + (1 | study)", bcg(), weights="w", sigma=1.0)
    assert result.converged
    assert result.sigma == 1.0
    assert result.df_modelwc == 2
    assert_allclose(result.varcorr()["variance"].iloc[0], 0.3132, atol=5e-5)
    assert_allclose(result.params["Intercept"], -0.7145, atol=5e-5)
    assert_allclose(result.bse["Intercept"], 0.1798, atol=5e-5)


@REML
def test_meta_analysis_against_the_oracle(reml: bool) -> None:
    data = bcg()
    result = fit("y ~ 1 + (1 | study)", data, weights="w", sigma=1.0, reml=reml)
    X = np.ones((13, 1))
    terms = [oracle.Term(X, np.arange(13), 13)]
    arguments = {"w": data["w"].to_numpy(), "reml": reml, "sigma": 1.0}
    theta, best = oracle.minimise(data["y"].to_numpy(), X, terms, **arguments)
    assert_allclose(result.objective, best, rtol=1e-9)
    assert_allclose(result.theta, theta, rtol=1e-4)


def test_saturated_model_needs_a_known_sigma() -> None:
    model = MixedLM.from_formula("y ~ 1 + (1 | study)", bcg(), weights="w")
    with pytest.raises(MixedLMError, match="study"):
        model.fit()
    with pytest.raises(DesignError, match="13 levels for 13 observations"):
        MixedLM.from_formula("y ~ 1 + (1 | study)", bcg())


@REML
def test_fixed_sigma_with_repeated_levels(reml: bool) -> None:
    this: Example = example("crossed", ["1x|h", "1|g"], seed=4)
    result = quietly(this.model(), sigma=1.3, reml=reml)
    _, best = oracle.minimise(**this.dense, reml=reml, sigma=1.3)
    assert result.converged
    assert result.sigma == 1.3
    assert_allclose(result.objective, best, atol=1e-6)
