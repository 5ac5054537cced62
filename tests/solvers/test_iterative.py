"""The iterative solver with samples, where log|M| has noise and everything else has none."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dense_solver import DenseFactor
from numpy.testing import assert_allclose
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import FitError
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.products.layout import BlockData
from mixedlm_ext.products.noise import Precisions
from mixedlm_ext.products.rows import cross_products
from mixedlm_ext.search import optimize, sampled
from mixedlm_ext.solvers import complement, direct, iterative, memory
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.iterative import IterativeSolver

Array = np.ndarray


def numbers(
    levels: tuple[int, ...], k: tuple[int, ...], n: int = 500, seed: int = 1
) -> BlockMatrix:
    """Z'WZ of factors that meet at random, with weights."""
    rng = np.random.default_rng(seed)
    blocks = [
        BlockData(
            np.concatenate([np.arange(q), rng.integers(0, q, n - q)]),
            [None, *rng.standard_normal((width - 1, n))],
            q,
        )
        for q, width in zip(levels, k)
    ]
    noise = Precisions(rng.uniform(0.3, 3.0, n))
    return cross_products(rng.standard_normal(n), np.ones((n, 1)), blocks, noise).A


def templates(A: BlockMatrix, scale: float = 0.7, seed: int = 2) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [scale * np.tril(rng.standard_normal((k, k))) for k, _ in A.shapes]


SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "two factors": ((60, 40), (1, 1)),
    "three factors": ((60, 40, 25), (1, 1, 1)),
    "slopes": ((50, 30), (2, 3)),
    "slopes, three factors": ((50, 30, 20), (2, 1, 2)),
}
shapes = pytest.mark.parametrize("name", SHAPES)


def joined(A: BlockMatrix) -> BlockMatrix:
    """A matrix in which two levels of the first block meet."""
    pair = type(A.couplings[0, 1])
    k = A.shapes[0][0]
    own = {(0, 0): pair(np.array([3]), np.array([1]), 0.01 * np.ones((k, k, 1)))}
    return BlockMatrix(A.shapes, A.diagonal, {**own, **A.couplings})


# ---------------------------------------------------------------- the estimate of log|M|


@shapes
@pytest.mark.parametrize("kind", ["ordinary", "joined", "singular"])
def test_traces_are_the_derivatives_of_the_estimate(name: str, kind: str) -> None:
    A, h = numbers(*SHAPES[name]), 1e-5
    A = joined(A) if kind == "joined" else A
    solver, T = IterativeSolver(A, probes=3), templates(A)
    if kind == "singular":
        T[-1][:, -1] = 0.0
    assert solver.probes == 3
    K, KT = solver.factor(T).traces()
    for i, (own, t) in enumerate(zip(KT, T)):
        assert_allclose(K[i], K[i].T)
        assert_allclose(own, K[i] @ t, atol=1e-12)
        for a, b in np.ndindex(t.shape):
            ahead, back = (
                solver.factor(
                    [*T[:i], t + s * np.eye(len(t))[:, [a]] @ np.eye(len(t))[[b]], *T[i + 1 :]]
                )
                for s in (h, -h)
            )
            numeric = (ahead.logdet - back.logdet) / (2.0 * h)
            assert_allclose(2.0 * own[a, b], numeric, rtol=1e-5, atol=1e-5 * np.abs(K[i]).max())


@shapes
def test_what_remains_is_the_same_formed_or_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    A = numbers(*SHAPES[name])
    T = templates(A)
    X = np.random.default_rng(3).standard_normal((int(A.offsets[-1]), 5))
    found = []
    for formed in (False, True):
        monkeypatch.setattr(complement.Couplings, "is_formed", formed)
        monkeypatch.setattr(complement, "_PIECE", 7 if formed else 10**6)  # several pieces, one
        own = complement.Couplings(A)
        remaining = complement.Complement(own, T[0])
        rest = X[own.first :]
        shares = remaining.by_diagonal([np.abs(D) for D in remaining.D])
        found.append((remaining.off_diagonal(rest), remaining.by_product(rest), shares))
        whole = A.dense[own.first :, own.first :].copy()
        across = A.dense[: own.first, own.first :]
        whole -= across.T @ complement.blockwise([remaining.N], across)
        own_blocks = complement.blockwise(remaining.D, rest)
        assert_allclose(found[-1][0], whole @ rest - own_blocks, atol=1e-10)
    for one, two in zip(*found, strict=True):
        assert_allclose(one, two, rtol=1e-10, atol=1e-10)


def test_what_has_few_entries_is_formed() -> None:
    """Pupils who change between neighbouring schools, and pupils who go to any."""
    rng = np.random.default_rng(4)
    pupils = np.repeat(np.arange(3000), 5)
    near = (pupils // 15 + rng.integers(0, 3, len(pupils))) % 200
    for schools, formed in ((near, True), (rng.integers(0, 2000, len(pupils)), False)):
        blocks = [BlockData(codes, [None], int(codes.max()) + 1) for codes in (pupils, schools)]
        noise = Precisions(np.ones(len(pupils)))
        A = cross_products(np.ones(len(pupils)), np.ones((len(pupils), 1)), blocks, noise).A
        assert complement.Couplings(A).is_formed == formed


@shapes
def test_the_estimate_depends_on_the_covariance_alone(name: str) -> None:
    """Rotated templates have the same Γ = TT', the same log|M|, and the same K."""
    A, rng = numbers(*SHAPES[name]), np.random.default_rng(3)
    T = templates(A)
    turned = [t @ np.linalg.qr(rng.standard_normal(t.shape))[0] for t in T]
    one, two = (IterativeSolver(A, probes=4).factor(each) for each in (T, turned))
    assert_allclose(two.logdet, one.logdet, rtol=1e-11)
    for first, second in zip(one.traces()[0], two.traces()[0]):
        assert_allclose(second, first, rtol=1e-7, atol=1e-7 * np.abs(first).max())


@shapes
def test_the_estimate_has_no_bias_and_the_error_it_says(name: str) -> None:
    A = numbers(*SHAPES[name])
    T, levels = templates(A), max(n for _, n in A.shapes[1:])
    dense = DenseFactor(A, T)
    z, zK = [], []
    for seed in range(60):
        factor = IterativeSolver(A, probes=levels // 3, seed=seed).factor(T)
        own = factor.logdet_by_probe
        z.append((factor.logdet - dense.logdet) / (own.std(ddof=1) / np.sqrt(len(own))))
        by_probe = factor.information_by_probe()
        assert by_probe is not None
        for found, exact, samples in zip(factor.traces()[0], dense.traces()[0], by_probe):
            se = samples[:, 0, 0].std(ddof=1) / np.sqrt(len(samples))
            zK.append((found - exact)[0, 0] / se)
    for scores in (z, zK):
        assert abs(np.mean(scores)) < 0.5
        assert 0.7 < np.std(scores) < 1.5


def test_the_mean_of_all_levels_is_not_left_to_chance() -> None:
    """Balanced crossed factors have no other coupling: samples give log|M| nearly without noise."""
    f, g = (part.ravel() for part in np.meshgrid(np.arange(30), np.arange(20)))
    blocks = [BlockData(codes, [None], codes.max() + 1) for codes in (f, g)]
    rng = np.random.default_rng(4)
    A = cross_products(
        rng.standard_normal(600), np.ones((600, 1)), blocks, Precisions(np.ones(600))
    ).A
    T = [np.array([[0.8]]), np.array([[0.5]])]
    factor = IterativeSolver(A, probes=2).factor(T)
    assert_allclose(factor.logdet, DenseFactor(A, T).logdet, atol=0.01)
    assert factor.logdet_by_probe.std() < 0.01


def test_samples_are_the_same_every_time_and_begin_alike() -> None:
    A = numbers(*SHAPES["slopes"])
    T, few = templates(A), IterativeSolver(A, probes=4)
    one, two = few.factor(T), IterativeSolver(A, probes=4).factor(T)
    assert one.logdet == two.logdet
    more = few.with_probes(9).factor(T)
    assert len(more.logdet_by_probe) == 9
    assert_allclose(more.logdet_by_probe[:4], one.logdet_by_probe, rtol=1e-10)
    assert few.load(A) is few
    assert few.load(A.scaled(2.0)).probes == 4


def test_samples_in_several_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    A = numbers(*SHAPES["three factors"])
    T, whole = templates(A), IterativeSolver(A, probes=7)
    expected = whole.factor(T)
    monkeypatch.setattr(iterative, "_TOGETHER", 1.0)
    found = whole.factor(T)
    assert_allclose(found.logdet_by_probe, expected.logdet_by_probe, rtol=1e-8)
    for one, two in zip(found.traces()[0], expected.traces()[0]):
        assert_allclose(one, two, rtol=1e-8)


# ---------------------------------------------------------------- fits


def ratings(n: int = 6000, users: int = 300, films: int = 200, seed: int = 5) -> pd.DataFrame:
    """Ratings of crossed users and films, some of both with many more than others."""
    rng = np.random.default_rng(seed)
    u, f = (np.minimum(rng.integers(0, q, n), rng.integers(0, q, n)) for q in (users, films))
    x = rng.standard_normal(n)
    g = rng.integers(0, 60, n)
    y = 3.0 + 0.5 * x + rng.standard_normal(n) + 0.4 * rng.standard_normal(60)[g]
    y += 0.8 * rng.standard_normal(users)[u] + 0.4 * rng.standard_normal(users)[u] * x
    y += 0.5 * rng.standard_normal(films)[f] + 0.3 * rng.standard_normal(films)[f] * x
    weights = rng.uniform(0.5, 2.0, n)
    return pd.DataFrame({"y": y, "x": x, "user": u, "film": f, "g": g, "w": weights})


def wages(workers: int = 1500, firms: int = 400, seed: int = 6) -> pd.DataFrame:
    """Workers of whom a third move between firms of a region: sparse couplings."""
    rng = np.random.default_rng(seed)
    worker = np.repeat(np.arange(workers), 4)
    home = rng.integers(0, firms, workers)
    away = np.minimum(home // 20 * 20 + rng.integers(0, 20, workers), firms - 1)
    moves = rng.random(workers) < 0.4
    firm = np.where((np.arange(4 * workers) % 4 > 1) & moves[worker], away[worker], home[worker])
    x = rng.standard_normal(len(worker))
    y = 8.0 + 0.3 * x + 0.6 * rng.standard_normal(workers)[worker]
    y += 0.3 * rng.standard_normal(firms)[firm] + 0.5 * rng.standard_normal(len(worker))
    return pd.DataFrame({"y": y, "x": x, "worker": worker, "firm": firm})


FITS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "crossed": ("y ~ x + (1 | user) + (1 | film)", ratings, {}),
    "weighted": ("y ~ x + (1 | user) + (1 | film)", ratings, {"weights": "w"}),
    "three factors": ("y ~ x + (1 | user) + (1 | film) + (1 | g)", ratings, {}),
    "slopes": ("y ~ x + (1 | user) + (x | film)", ratings, {}),
    "slopes of the first": ("y ~ x + (x | user) + (1 | film)", ratings, {}),
    "compound symmetry": ("y ~ x + (1 | user) + cs(1 + x | film)", ratings, {}),
    "mobility": ("y ~ x + (1 | worker) + (1 | firm)", wages, {}),
}


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("name", FITS)
def test_fits_agree_with_the_exact_solver(name: str, reml: bool) -> None:
    """theta within 1 % of its standard error, beta and its own within 1e-4 of theirs."""
    formula, data, more = FITS[name]
    model = MixedLM.from_formula(formula, data(), **more)
    exact, found = (model.fit(reml=reml, solver=solver) for solver in ("exact", "iterative"))
    assert exact.converged and found.converged
    sampling = found.fit_record.sampling
    assert sampling is not None and sampling.enough
    assert found.fit_record.problem.solver.name == "iterative"
    H = model.hessian(exact.theta, reml=reml)
    se = np.sqrt(2.0 * np.diag(np.linalg.inv(H)))
    assert (np.abs(found.theta - exact.theta) < 0.01 * se).all()
    assert (np.abs(found.params - exact.params) < 1e-4 * exact.bse).all()
    assert_allclose(found.bse, exact.bse, rtol=1e-3)
    assert abs(found.objective - exact.objective) < 5.0 * sampling.objective_se + 1e-6
    assert_allclose(found.sigma, exact.sigma, rtol=1e-4)
    assert_allclose(found.df_resid_inference, exact.df_resid_inference, rtol=0.1)


def test_exact_parts_have_no_noise() -> None:
    """beta, b and r² at the same theta."""
    problem = MixedLM.from_formula("y ~ x + (1 | user) + (x | film)", ratings()).problem
    theta = problem.covariance.start()
    one, two = (
        GaussianCriterion(replace(problem, given=solver), True).at(theta)
        for solver in (DirectSolver.of(problem.cp.A), IterativeSolver(problem.cp.A, 2))
    )
    assert_allclose(two.pls.pwrss, one.pls.pwrss, rtol=1e-12)
    assert_allclose(two.pls.beta, one.pls.beta, atol=1e-10)
    assert_allclose(two.pls.b, one.pls.b, atol=1e-10)
    assert_allclose(two.pls.RX, one.pls.RX, rtol=1e-10, atol=1e-10)
    assert_allclose(two.pwrss_gradient, one.pwrss_gradient, rtol=1e-8)


def test_a_variance_of_zero() -> None:
    data = ratings()
    data["y"] -= 1.0 * data.groupby("film")["y"].transform("mean")
    formula = "y ~ x + (1 | user) + (1 | film)"
    results = []
    for solver in ("exact", "iterative"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(MixedLM.from_formula(formula, data).fit(solver=solver))
    exact, found = results
    assert exact.singular and found.singular and found.converged
    assert_allclose(found.theta, exact.theta, atol=1e-3)
    assert found.theta[1] == exact.theta[1] == 0.0
    assert_allclose(found.params, exact.params, rtol=1e-5)


def test_one_factor_has_nothing_to_sample() -> None:
    model = MixedLM.from_formula("y ~ x + (x | user)", ratings())
    exact, found = (model.fit(solver=solver) for solver in ("exact", "iterative"))
    assert found.fit_record.sampling is None
    assert_allclose(found.theta, exact.theta, rtol=1e-8)
    assert_allclose(found.objective, exact.objective, rtol=1e-12)


def test_fits_are_reproducible() -> None:
    formula, data, _ = FITS["mobility"]
    one, two = (MixedLM.from_formula(formula, data()).fit(solver="iterative") for _ in range(2))
    assert one.objective == two.objective
    assert (one.theta == two.theta).all()


def test_samples_grow_until_their_noise_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    formula, data, _ = FITS["mobility"]
    model = MixedLM.from_formula(formula, data())
    first = model.fit(solver="iterative").fit_record
    assert first.sampling is not None
    monkeypatch.setattr(sampled, "_GOAL", 0.6 * first.sampling.share)
    second = model.fit(solver="iterative").fit_record
    assert second.sampling is not None
    assert second.sampling.samples >= 2 * first.sampling.samples
    assert second.sampling.share <= 0.6 * first.sampling.share
    assert second.optimization.evaluations > first.optimization.evaluations
    assert len(second.optimization.objective) == len(second.optimization.theta)


def test_the_noise_of_theta_is_what_it_says() -> None:
    """Minima by other signs scatter about the exact one by the standard error that is reported."""
    formula, data, _ = FITS["mobility"]
    problem = MixedLM.from_formula(formula, data()).problem
    exact = GaussianCriterion(problem, True)
    best, _ = optimize(exact)
    theta = problem.covariance.unstandardize(best.theta)
    se = np.sqrt(2.0 * np.diag(np.linalg.inv(exact.hessian(best.theta))))
    z, shares = [], []
    for seed in range(12):
        solver = IterativeSolver(problem.cp.A, 16, seed)
        criterion = GaussianCriterion(replace(problem, given=solver), True)
        e = criterion.at(optimize(criterion, best.theta)[0].theta)
        found = sampled.sampling_of(criterion, e)
        assert found is not None
        z.append((problem.covariance.unstandardize(e.theta) - theta) / found.theta_se)
        shares.append(found.share)
    assert 0.6 < np.sqrt(np.mean(np.square(z))) < 1.5
    J = problem.covariance.jacobian
    assert_allclose(found.share, (found.theta_se / (se / np.diag(J))).max(), rtol=0.05)
    assert np.ptp(shares) < np.mean(shares)


# ---------------------------------------------------------------- what is chosen, said and refused


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 5e6)


def many(n: int = 20_000) -> pd.DataFrame:
    return ratings(n, 900, 800)


@pytest.mark.usefixtures("little_memory")
def test_chosen_by_itself_where_memory_is_short() -> None:
    model = MixedLM.from_formula("y ~ x + (1 | user) + (1 | film)", many())
    result = model.fit()
    assert result.fit_record.problem.solver.name == "iterative"
    text = " ".join(str(result.summary()).split())
    assert "Solver: iterative, the log-determinant by 16 samples" in text
    assert "of the standard error of theta" in text
    with pytest.raises(FitError, match="Fit a linear model with solver='iterative'"):
        model.fit(solver="exact")


def test_chosen_by_itself_where_patience_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MixedLM.from_formula("y ~ x + (1 | user) + (1 | film)", many())
    assert model.problem.solver.name == "exact"
    monkeypatch.setattr(direct, "costs_of", lambda A: Costs(hurry=1e-4, worth=1e-4))
    other = MixedLM.from_formula("y ~ x + (1 | user) + (1 | film)", many())
    assert other.problem.solver.name == "iterative"
    assert other.fit(solver="exact").fit_record.problem.solver.name == "exact"


@pytest.mark.parametrize(
    ("exact", "iterative", "waits"),
    [
        (4.9, 0.001, True),
        (5.1, 2.0, False),
        (5.1, 3.0, True),
        (29.0, 20.0, True),
        (31.0, 20.0, False),
    ],
)
def test_how_long_an_exact_evaluation_is_waited_for(
    exact: float, iterative: float, waits: bool
) -> None:
    """Seconds always, more where the other is slow too, half a minute never."""
    assert Costs().is_waited_for(exact, iterative) is waits


def test_the_time_of_an_evaluation_is_estimated_from_the_couplings() -> None:
    """It grows with the pairs that meet and the columns of a sample; one factor takes none."""
    plain = MixedLM.from_formula("y ~ x + (1 | user) + (1 | film)", many()).problem.cp.A
    slopes = MixedLM.from_formula("y ~ x + (1 | user) + (x | film)", many()).problem.cp.A
    one = MixedLM.from_formula("y ~ x + (1 | user)", many()).problem.cp.A
    seconds = IterativeSolver.seconds(plain)
    assert IterativeSolver.seconds(one) == 0.0
    assert 0.0 < 1.9 * seconds < IterativeSolver.seconds(slopes) < 4.1 * seconds


def test_an_exact_fit_says_nothing() -> None:
    result = MixedLM.from_formula("y ~ x + (1 | user) + (1 | film)", ratings()).fit()
    assert result.fit_record.sampling is None
    assert "Solver" not in str(result.summary())


def test_unknown_solver() -> None:
    model = MixedLM.from_formula("y ~ x + (1 | user) + (1 | film)", ratings(600))
    with pytest.raises(FitError, match=r"'itrative' is not known\. Did you mean 'iterative'\?"):
        model.fit(solver="itrative")


@pytest.mark.parametrize("ddf", ["kenward-roger", "kenward-roger-full"])
def test_kenward_roger_is_refused_before_the_fit(ddf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MixedLM.from_formula("y ~ x + (1 | user) + (1 | film)", ratings(2000))
    result = model.fit(solver="iterative")
    monkeypatch.setattr("mixedlm_ext.fitting.estimate", None)
    with pytest.raises(FitError, match="Pass ddf='satterthwaite', or"):
        model.fit(solver="iterative", ddf=ddf)
    with pytest.raises(FitError, match="iterative solver does not have"):
        result.with_ddf(ddf)


def test_conditional_standard_deviations(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MixedLM.from_formula("y ~ x + (1 | user) + (x | film)", ratings(3000, 120, 90))
    exact, found = (model.fit(solver=solver) for solver in ("exact", "iterative"))
    for name, frame in exact.random_effects_sd.items():
        assert_allclose(found.random_effects_sd[name], frame, rtol=2e-3)
    monkeypatch.setattr(iterative, "_LISTED", 100)
    again = model.fit(solver="iterative")
    with pytest.raises(FitError, match="conditional variances of 297 random effects"):
        _ = again.random_effects_sd
    assert len(again.random_effects) == 2


def test_where_its_iteration_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that comes to where there is no criterion ends with a word of the other solver."""
    rng = np.random.default_rng(5)
    n, users, films = 3000, 300, 250
    user = np.sort(rng.integers(0, users, n))
    film = np.minimum(films - 1, user * films // users + rng.integers(0, 2, n))
    y = rng.standard_normal(users)[user] + rng.standard_normal(films)[film]
    data = pd.DataFrame({"user": user, "film": film, "y": y + 0.03 * rng.standard_normal(n)})
    model = MixedLM.from_formula("y ~ 1 + (1 | user) + (1 | film)", data)
    monkeypatch.setattr("mixedlm_ext.linalg.krylov.logarithms.__defaults__", (1e-8, 30))
    with pytest.warns(ConvergenceWarning, match=r"did not converge.* fit with solver='exact'"):
        assert not model.fit(solver="iterative").converged
    with pytest.warns(ConvergenceWarning, match=r"Raise max_time\.$"):
        model.fit(solver="iterative", max_time=1e-9)
    assert model.fit(solver="exact").converged
