"""Models whose levels have a known covariance, against reference numbers and the dense oracle.

The numbers are from tests/data/known: dense code of its own in R, which lme4's criterion of Z times
a root of the covariance, and metafor 3.8-1, confirm to 1e-9.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from places import DATA
from scipy import sparse
from simulation import quietly

from mixedlm_ext import MixedGLM, MixedLM, MixedLMResults, RandomTerm, pedigree
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.errors import DesignError, DesignWarning, FitError, FormulaError
from mixedlm_ext.estimation.fit_warnings import warn_of_time
from mixedlm_ext.inference.compare.nesting import is_nested
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.prior import PriorSolver

HERE = DATA / "known"
# REML criterion, -2 log-likelihood, standard deviations (REML)
REFERENCE = {
    "animal": (436.4534956188, 435.6296695610, [1.2022032, 1.0962483]),
    "identity": (429.3344315377, 427.0920668738, [0.9277061, 1.2468084]),
    "maternal": (427.0782760534, 425.9401328839, [0.8868655, 0.3949344, 0.761519, 1.025116]),
    "two kernels": (434.9576200991, 433.3069187956, [0.0, 1.4692958, 0.4352787]),
    "permanent": (595.1225139457, 591.7772983754, [1.2517626, 0.8502875, 0.9609148]),
    "regression": (
        584.9897139,
        581.5949172,
        [1.3562493, 0.8021584, 0.740661, 0.8385853],
    ),
    "singular": (561.3156146, 557.1670334, [1.6273892, 1.0293363]),
    "singular and line": (560.9428465421, 557.0354519183, [1.4344501, 0.6952531, 1.0233229]),
}
FORMULAS = {
    "animal": "y ~ sex + (1 | gr(animal, cov=A))",
    "identity": "y ~ sex + (1 | gr(dam, cov=I))",
    "maternal": "y ~ sex + (1 | gr(animal, cov=A)) + (1 | gr(dam, cov=A)) + (1 | dam)",
    "two kernels": "y ~ sex + (1 | gr(animal, cov=A)) + (1 | gr(animal, cov=AA))",
    "permanent": "y ~ sex + parity + (1 | gr(animal, cov=A)) + (1 | animal)",
    "regression": "y ~ sex + parity + (1 + t | gr(animal, cov=A)) + (1 | animal)",
    "singular": "y ~ site + (1 | gr(line, cov=K))",
    "singular and line": "y ~ site + (1 | gr(line, cov=K)) + (1 | line)",
}
FRAMES = {"permanent": "repeated", "regression": "repeated", "singular": "lines",
          "singular and line": "lines"}  # fmt: skip
ways = pytest.mark.parametrize("way", ["pedigree", "matrix"])


@cache
def frame(name: str) -> pd.DataFrame:
    return pd.read_csv(HERE / f"{name}.csv", index_col=0 if name == "lines_K" else None)


@cache
def relationships() -> KnownMatrix:
    return pedigree(frame("pedigree"), "animal", "sire", "dam")


@cache
def matrices() -> dict[str, Any]:
    entries = frame("A_lower_nonzero")
    labels = sorted(entries["animal"].unique())
    A = pd.DataFrame(0.0, labels, labels)
    for row in entries.itertuples():
        A.loc[row.animal, row.other] = A.loc[row.other, row.animal] = row.a
    dams = frame("animals")["dam"].unique()
    identity = pd.DataFrame(np.eye(len(dams)), dams, dams)
    return {"A": A, "AA": A * A, "I": identity, "K": frame("lines_K")}


def model(name: str, way: str = "pedigree") -> MixedLM:
    given = dict(matrices())
    if way == "pedigree":
        given["A"] = relationships()
    data = frame(FRAMES.get(name, "animals"))
    return MixedLM.from_formula(FORMULAS[name], data, eval_env=given)


@cache
def fitted(name: str, way: str = "pedigree", reml: bool = True) -> MixedLMResults:
    return quietly(model(name, way), reml=reml)


# ---------------------------------------------------------------- references


@ways
@pytest.mark.parametrize("name", REFERENCE)
def test_fits_agree_with_the_reference(name: str, way: str) -> None:
    reml, ml, sds = REFERENCE[name]
    for criterion, expected in ((True, reml), (False, ml)):
        result = fitted(name, way, criterion)
        assert result.converged
        assert_allclose(result.objective, expected, rtol=0, atol=2e-7)
    found = fitted(name, way).varcorr()
    assert_allclose(found["std_dev"], sds, atol=2e-4)
    if "corr_1" in found:
        assert_allclose(found["corr_1"].dropna(), [-0.2801087], atol=2e-4)


def test_a_pedigree_is_its_relationships() -> None:
    """Inbreeding of 50 of 160 animals, and A itself, to the last digit."""
    A, known = matrices()["A"], relationships()
    inverse = known.precision.Q.toarray()
    assert_allclose(inverse @ A.loc[known.labels, known.labels].to_numpy(), np.eye(160), atol=1e-12)
    assert_allclose(known.diagonal, np.diag(A.loc[known.labels, known.labels]), atol=1e-14)
    assert_allclose(-known.precision.logdet, -101.281349175464, rtol=1e-12)
    assert (known.diagonal > 1.0 + 1e-9).sum() == 50
    assert_allclose(known.diagonal.max(), 1.265625)


def test_animals_without_records_are_predicted() -> None:
    """b₂ = A₂₁A₁₁⁻¹b₁, and reliabilities from the errors of prediction."""
    result, A = fitted("animal"), matrices()["A"]
    b = result.random_effects["animal"]["Intercept"]
    assert len(b) == 160 and result.nobs == 120
    seen = frame("animals")["animal"]
    others = b.index.difference(seen)
    expected = A.loc[others, seen] @ np.linalg.solve(A.loc[seen, seen], b[seen])
    assert_allclose(b[others], expected, atol=1e-9)
    new = pd.DataFrame({"animal": others, "sex": "f"})
    assert_allclose(result.predict(new), result.params["Intercept"] + expected, atol=1e-9)


def test_breeding_values_have_errors_of_prediction_and_reliabilities() -> None:
    """The numbers of the reference: with the error of the fixed effects, and without it."""
    result = fitted("animal")
    table = result.breeding_values()
    assert len(table) == 160 and table.index.name == "animal"
    assert_allclose(table.loc[["A001", "A002"], "estimate"], [-0.0922456, -1.2972995], atol=1e-4)
    assert_allclose(table.loc[["A001", "A002"], "se"], [0.8153832, 0.8654174], rtol=1e-4)
    sd = result.random_effects_sd["animal"].loc[["A001", "A002"], "Intercept"]
    assert_allclose(sd, [0.7075032, 0.8352251], rtol=1e-4)
    diagonal = np.diag(matrices()["A"].loc[table.index, table.index])
    expected = 1.0 - table["se"] ** 2 / (1.2022032**2 * diagonal)
    assert_allclose(table["reliability"], expected, atol=1e-5)
    other = fitted("animal", "matrix").breeding_values().loc[table.index]
    assert_allclose(other, table, atol=1e-6)
    several = fitted("regression").breeding_values("animal")
    assert several.index.names == ["animal", "column"] and len(several) == 320
    assert several["reliability"].between(0.0, 1.0).all()
    with pytest.raises(FitError, match="no random term 'dam'"):
        result.breeding_values("dam")


def test_heritability_is_that_of_the_base_population() -> None:
    for name, way in (("animal", "pedigree"), ("animal", "matrix")):
        table = fitted(name, way).heritability()
        assert_allclose(table.loc["animal", "estimate"], 0.546000622373706, atol=1e-5)
        assert 0 < table.loc["animal", "ci_lower"] < 0.546 < table.loc["animal", "ci_upper"] < 1
    repeated = fitted("permanent").heritability()
    assert list(repeated.index) == ["animal"]
    assert_allclose(repeated.loc["animal", "estimate"], 0.4876, atol=1e-4)
    profile = fitted("animal").heritability(method="profile")
    assert_allclose(profile.loc["animal", "estimate"], 1.13759**2 / (1.13759**2 + 1.12143**2), 1e-4)
    assert fitted("animal").icc().loc["animal", "estimate"] > 0.546  # inbred animals vary more
    plain = MixedLM.from_formula("y ~ sex + (1 | dam)", frame("animals")).fit()
    with pytest.raises(FitError, match="no heritability"):
        plain.heritability()


# ---------------------------------------------------------------- the oracle


def terms_of(name: str) -> tuple[list[oracle.Term], MixedLM]:
    """The oracle's view of a model, its matrices in the order of the model's levels."""
    made, given = model(name, "matrix"), matrices()
    terms = []
    for term in made.design.terms:
        K = None
        if term.related is not None:
            C = term.related.root
            K = C @ C.T if isinstance(C, np.ndarray) else (C @ C.T).toarray()
        terms.append(oracle.Term(term.X, term.codes, len(term.levels), term.structure, K=K))
    assert given
    return terms, made


THETAS = {
    "animal": [[0.7], [0.0], [3.0]],
    "maternal": [[0.8, 0.4, 0.6], [0.9, 0.0, 0.7]],
    "regression": [[1.1, -0.3, 0.5, 0.6], [0.9, 0.4, 0.0, 0.0]],
    "singular": [[1.3]],
}


@ways
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", THETAS)
def test_criterion_and_derivatives_are_those_of_the_dense_oracle(
    name: str, reml: bool, way: str
) -> None:
    terms, _ = terms_of(name)
    made = model(name, way)
    y, X = made.design.y, made.design.X
    for theta in map(np.array, THETAS[name]):
        expected = oracle.objective(y, X, terms, theta, reml=reml)
        assert_allclose(made.objective(theta, reml=reml), expected, rtol=1e-11)
        slope = oracle.gradient(y, X, terms, theta, reml=reml)
        assert_allclose(made.score(theta, reml=reml), slope, atol=1e-7 * max(1, abs(slope).max()))
        curvature = oracle.hessian(y, X, terms, theta, reml=reml)
        size = np.abs(curvature).max()
        assert_allclose(made.hessian(theta, reml=reml), curvature, atol=1e-6 * size)


@ways
@pytest.mark.parametrize("name", ["animal", "regression"])
def test_modes_and_their_covariances_are_those_of_the_oracle(name: str, way: str) -> None:
    terms, _ = terms_of(name)
    result = fitted(name, way)
    made = result.model
    expected = oracle.estimates(made.design.y, made.design.X, terms, result.theta, reml=True)
    for i, term in enumerate(model(name, "matrix").design.terms):
        own = result.random_effects[term.name].loc[term.levels]
        sd = result.random_effects_sd[term.name].loc[term.levels]
        assert_allclose(own, expected.b[i], atol=1e-8)
        assert_allclose(sd**2, np.einsum("lkk->lk", expected.b_cov[i]), atol=1e-8)
    assert_allclose(result.fittedvalues, expected.fitted, atol=1e-8)
    assert_allclose(result.leverage(), expected.leverage, atol=1e-8)
    assert_allclose(result.bse**2, np.diag(expected.cov_beta), rtol=1e-7)


# ---------------------------------------------------------------- invariances


def test_the_order_of_the_matrix_does_not_matter() -> None:
    A, data = matrices()["A"], frame("animals")
    rng = np.random.default_rng(0)
    mixed = A.sample(frac=1.0, random_state=1)
    mixed = mixed[rng.permutation(mixed.columns)]
    one = MixedLM.from_formula(FORMULAS["animal"], data, eval_env={"A": A}).fit()
    two = MixedLM.from_formula(FORMULAS["animal"], data, eval_env={"A": mixed}).fit()
    assert_allclose(two.objective, one.objective, rtol=1e-12)
    ours = two.random_effects["animal"].loc[A.index]
    assert_allclose(ours, one.random_effects["animal"].loc[A.index], atol=1e-6)


def test_a_multiple_of_the_matrix_scales_the_standard_deviation() -> None:
    A, data = matrices()["A"], frame("animals")
    with pytest.warns(DesignWarning, match=r"near 0\.5, as that of a kinship matrix"):
        kinship = MixedLM.from_formula(FORMULAS["animal"], data, eval_env={"A": 0.5 * A}).fit()
    whole = fitted("animal")
    assert_allclose(kinship.objective, whole.objective, rtol=1e-11)
    assert_allclose(kinship.varcorr()["std_dev"][0], np.sqrt(2.0) * 1.2022032, rtol=1e-5)


@pytest.mark.parametrize("how", ["root", "precision"])
def test_independent_levels_are_the_plain_model(how: str) -> None:
    data = frame("animals")
    plain = MixedLM.from_formula("y ~ sex + (1 | dam)", data).fit()
    dams = sorted(data["dam"].unique())
    unit = sparse.eye_array(len(dams), format="csr")
    word = "cov" if how == "root" else "prec"
    known = MixedLM.from_formula(
        f"y ~ sex + (1 | gr(dam, {word}=M))", data, eval_env={"M": (unit, dams)}
    ).fit()
    assert_allclose(known.objective, plain.objective, rtol=1e-12)
    assert_allclose(known.random_effects["dam"], plain.random_effects["dam"], atol=1e-7)
    assert_allclose(known.theta, plain.theta, atol=1e-7)


def test_blocks_of_ones_are_a_coarser_factor() -> None:
    """Clones: a singular matrix of families is the factor of families."""
    data = frame("animals").copy()
    dams = sorted(data["dam"].unique())
    family = {dam: i // 3 for i, dam in enumerate(dams)}
    data["family"] = data["dam"].map(family)
    f = np.array([family[dam] for dam in dams])
    K = pd.DataFrame((f[:, None] == f).astype(float), dams, dams)
    known = MixedLM.from_formula("y ~ sex + (1 | gr(dam, cov=K))", data, cov={"K": K})
    known = known.fit(reml=False)
    plain = MixedLM.from_formula("y ~ sex + (1 | family)", data).fit(reml=False)
    assert_allclose(known.objective, plain.objective, rtol=1e-12)
    ours = known.random_effects["dam"]["Intercept"]
    assert_allclose(ours, plain.random_effects["family"]["Intercept"].loc[f], atol=1e-6)


def test_a_precision_is_the_inverse_of_the_covariance() -> None:
    A, data = matrices()["A"], frame("animals")
    P = pd.DataFrame(np.linalg.inv(A.to_numpy()), A.index, A.columns)
    thin = (relationships().precision.Q, list(relationships().labels))
    for given in (P, thin):
        result = MixedLM.from_formula(
            "y ~ sex + (1 | gr(animal, prec=P))", data, eval_env={"P": given}
        ).fit()
        assert_allclose(result.objective, REFERENCE["animal"][0], atol=2e-7)


def test_arrays_take_a_known_covariance() -> None:
    data = frame("animals")
    X = np.column_stack([np.ones(len(data)), data["sex"] == "m"]).astype(float)
    for given in ({"cov": matrices()["A"]}, {"cov": relationships()}):
        result = MixedLM(data["y"], X, [RandomTerm(data["animal"], **given)]).fit()
        assert_allclose(result.objective, REFERENCE["animal"][0], atol=2e-7)
        again = MixedLM(data["y"], X, result.model.random).fit()
        assert_allclose(again.objective, result.objective, rtol=1e-12)
    with pytest.raises(DesignError, match=r"has cov= and prec="):
        MixedLM(data["y"], X, [RandomTerm(data["animal"], cov=X, prec=X)])


def test_a_matrix_is_given_beside_the_formula_too() -> None:
    A, data = relationships(), frame("repeated")
    formulas = [
        "y ~ sex + parity + (1 | gr(animal, cov=A)) + (1 | animal)",
        "y ~ sex + parity + (1 | gr(animal)) + (1 | animal)",
    ]
    for formula, key in zip(formulas, ("A", "animal")):
        result = MixedLM.from_formula(formula, data, cov={key: A}, eval_env={}).fit()
        assert_allclose(result.objective, REFERENCE["permanent"][0], atol=2e-7)
    plain = MixedLM.from_formula("y ~ sex + (1 | animal)", frame("animals"), cov={"animal": A})
    assert_allclose(plain.fit().objective, REFERENCE["animal"][0], atol=2e-7)
    made = "y ~ sex + (1 | gr(animal, cov=pedigree(ped, 'animal', 'sire', 'dam')))"
    result = MixedLM.from_formula(made, frame("animals"), eval_env={"ped": frame("pedigree")}).fit()
    assert_allclose(result.objective, REFERENCE["animal"][0], atol=2e-7)


@ways
def test_weights_and_an_offset_are_those_of_the_dense_oracle(way: str) -> None:
    terms, _ = terms_of("regression")
    data = frame("repeated")
    rng = np.random.default_rng(3)
    w, offset = rng.uniform(0.5, 2.0, len(data)), rng.standard_normal(len(data))
    given = {**matrices(), "A": relationships() if way == "pedigree" else matrices()["A"]}
    made = MixedLM.from_formula(
        FORMULAS["regression"], data, weights=w, offset=offset, eval_env=given
    )
    theta = np.array([1.1, -0.3, 0.5, 0.6])
    arguments = (made.design.y, made.design.X, terms, theta)
    expected = oracle.objective(*arguments, w=w, offset=offset, reml=True)
    assert_allclose(made.objective(theta), expected, rtol=1e-11)
    slope = oracle.gradient(*arguments, w=w, offset=offset, reml=True)
    assert_allclose(made.score(theta), slope, atol=1e-6)


def test_families_that_are_unrelated_stay_apart() -> None:
    """A sparse matrix of families of several sizes, clones among them, is the dense one."""
    rng = np.random.default_rng(5)
    data, A = frame("animals"), matrices()["A"]
    labels = list(A.index)
    cuts = np.sort(rng.choice(np.arange(1, 160), 40, replace=False))
    K = np.zeros((160, 160))
    for own in np.split(np.arange(160), cuts):
        K[np.ix_(own, own)] = 0.5 + 0.5 * np.eye(len(own))
        K[np.ix_(own[:2], own[:2])] = 1.0  # clones
    thin = (sparse.coo_array(K), labels)
    formula = "y ~ sex + (1 | gr(animal, cov=K))"
    one = quietly(MixedLM.from_formula(formula, data, cov={"K": thin}))
    two = quietly(MixedLM.from_formula(formula, data, cov={"K": pd.DataFrame(K, labels, labels)}))
    assert sparse.issparse(one.model.design.terms[0].related.root)
    assert_allclose(one.objective, two.objective, rtol=1e-11)
    b = one.random_effects["animal"]["Intercept"].to_numpy()
    assert_allclose(b, two.random_effects["animal"]["Intercept"], atol=1e-6)
    first = np.split(np.arange(160), cuts)
    for own in first:
        if len(own) > 1:
            assert_allclose(b[own[0]], b[own[1]], atol=1e-9)


def test_a_matrix_that_is_too_large_is_refused_at_once() -> None:
    n = 20_000
    chain = sparse.diags_array([[0.4] * (n - 1), [1.0] * n, [0.4] * (n - 1)], offsets=[-1, 0, 1])
    data = {"y": np.arange(9.0) ** 1.5, "g": np.arange(9) // 3}
    with pytest.raises(DesignError, match=r"joins 20,000 levels.*prec="):
        MixedLM.from_formula("y ~ 1 + (1 | gr(g, cov=K))", data, cov={"K": (chain, range(n))})


# ---------------------------------------------------------------- through the house


def close(get: Any, tolerance: float = 1e-6, name: str = "regression") -> None:
    """Both ways to compute it agree."""
    one, two = (np.asarray(get(fitted(name, way)), dtype=float) for way in ("pedigree", "matrix"))
    scale = max(1.0, float(np.nanmax(np.abs(two))))
    assert_allclose(one, two, atol=tolerance * scale)


def test_inference_agrees_by_precision_and_by_root() -> None:
    """Everything after the fit, by sparse precisions and by dense roots."""
    data = frame("repeated")
    close(lambda r: r.random_effects_sd["animal"].sort_index())
    close(lambda r: r.get_prediction(data).summary_frame(), 1e-5)
    close(lambda r: r.t_test(np.eye(3)).pvalue, 1e-5)
    close(lambda r: r.residuals("normalized"))
    close(lambda r: r.anova()["Pr(>F)"] if "Pr(>F)" in r.anova() else r.anova().iloc[:, -1], 1e-5)
    close(lambda r: r.icc().iloc[:, :2], 1e-4)
    close(lambda r: r.ranova().iloc[:, 0], 1e-5)
    close(lambda r: r.refit(data["y"] * 2.0 + 1.0).params, 1e-5)
    close(lambda r: r.update("~ . - sex").params, 1e-5)


@ways
def test_zero_is_exact_and_effects_are_templates_times_u(way: str) -> None:
    kernels = fitted("two kernels", way)
    assert not kernels.random_effects["animal"].to_numpy().any()
    assert kernels.random_effects["animal.1"].to_numpy().any()
    fit = fitted("regression", way).fit_record
    for b, u, T in zip(fit.b, fit.u, fit.templates):
        assert_allclose(b, u @ T.T, atol=1e-7)


@ways
def test_normalized_residuals_are_independent_under_the_model(way: str) -> None:
    """Their squares sum to r'V⁻¹r/σ², which is n - p."""
    result = fitted("regression", way)
    assert_allclose((result.residuals("normalized") ** 2).sum(), result.nobs - 3, rtol=1e-7)


def test_degrees_of_freedom_of_population_predictions() -> None:
    data = frame("repeated")
    close(lambda r: r.get_prediction(data, which="population").summary_frame(), 1e-5)


def test_models_of_other_relationships_are_not_nested() -> None:
    known = fitted("animal").fit_record.design
    plain = MixedLM.from_formula("y ~ sex + (1 | dam)", frame("animals")).design
    both = MixedLM.from_formula(
        "y ~ sex + (1 | gr(animal, cov=A)) + (1 | dam)",
        frame("animals"),
        cov={"A": matrices()["A"]},
    ).design
    alone = MixedLM.from_formula(
        "y ~ sex + (1 | gr(animal, cov=A))", frame("animals"), cov={"A": matrices()["AA"]}
    ).design
    assert is_nested(plain, both) and is_nested(known, both)
    assert not is_nested(known, plain) and not is_nested(alone, both)


def test_kenward_roger_agrees_by_precision_and_by_root() -> None:
    found = []
    for way in ("pedigree", "matrix"):
        found.append(quietly(model("permanent", way), ddf="kenward-roger").bse)
    assert_allclose(found[0], found[1], rtol=1e-6)
    assert (found[0] > fitted("permanent").bse - 1e-9).all()


def test_a_fit_is_pickled_and_updated_without_the_matrix_at_hand() -> None:
    result = fitted("animal")
    again = pickle.loads(pickle.dumps(result))
    data = frame("animals")
    assert_allclose(again.predict(data), result.predict(data))
    assert_allclose(again.update("~ . - sex").objective, result.update("~ . - sex").objective)


def test_simulated_effects_have_the_known_covariance() -> None:
    for way in ("pedigree", "matrix"):
        result = fitted("animal", way)
        Y = result.simulate(4000, rng=1).to_numpy()
        C = matrices()["A"].loc[frame("animals")["animal"], frame("animals")["animal"]].to_numpy()
        expected = 1.2022032**2 * C + 1.0962483**2 * np.eye(len(C))
        assert np.abs(np.cov(Y) - expected).max() < 0.35
        assert abs(np.cov(Y).mean() - expected.mean()) < 0.05


def test_what_cannot_be_done_says_so() -> None:
    result = fitted("animal")
    with pytest.raises(FitError, match=r"known covariance.*kind='parametric'"):
        result.bootstrap(10, kind="residual")
    with pytest.raises(FitError, match="related by a known covariance"):
        result.model.fit(cov_type="cluster")


# ---------------------------------------------------------------- bad matrices


def square(values: Any, labels: str = "abc") -> pd.DataFrame:
    return pd.DataFrame(values, list(labels), list(labels))


I3 = np.eye(3)
BAD: dict[str, tuple[Any, str]] = {
    "no labels": (I3, r"cov=M is a ndarray, which does not say which row is which level"),
    "no matrix": (3.0, r"cov=M is a float, not a labelled matrix"),
    "not square": (pd.DataFrame(np.ones((3, 2)), list("abc")), "3 rows and 2 columns"),
    "other columns": (pd.DataFrame(I3, list("abc"), list("abd")), "row 'c' and no such column"),
    "twice": (pd.DataFrame(I3, list("aab"), list("aab")), "label 'a' twice"),
    "missing": (square([[1, 0, 0], [0, np.nan, 0], [0, 0, 1]]), "missing or infinite"),
    "text": (square([["x"] * 3] * 3), "no numbers"),
    "asymmetric": (
        square([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]),
        r"not symmetric: '[ab]' with '[ab]'",
    ),
    "negative": (square([[1, 2, 0], [2, 1, 0], [0, 0, 1]]), "negative eigenvalue"),
    "zero": (square(np.diag([1.0, 0.0, 1.0])), "variance 0 for 'b'"),
    "incomplete": (square(I3[:2, :2], "ab"), r"1 level of 'g' has no row in the matrix .*'c'"),
    "labels": ((I3, ["a", "b"]), "3 rows and 2 labels"),
    "other type": (pd.DataFrame(I3, [1, 2, 3], [1, 2, 3]), "cannot be read as the other"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_matrices_are_refused_in_words(kind: str) -> None:
    matrix, message = BAD[kind]
    data = {"y": np.arange(9.0) ** 1.5, "g": list("abc") * 3}
    with pytest.raises(DesignError, match=message):
        MixedLM.from_formula("y ~ 1 + (1 | gr(g, cov=M))", data, eval_env={"M": matrix})


def test_bad_precisions_are_refused_in_words() -> None:
    data = {"y": np.arange(9.0) ** 1.5, "g": list("abc") * 3}
    walk = square([[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]])
    with pytest.raises(DesignError, match=r"prec=M is not positive definite.*intrinsic prior"):
        MixedLM.from_formula("y ~ 1 + (1 | gr(g, prec=M))", data, eval_env={"M": walk})
    with pytest.raises(DesignError, match=r"not its inverse\. Write cov="):
        MixedLM.from_formula("y ~ 1 + (1 | gr(g, prec=M))", data, eval_env={"M": relationships()})


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ 1 + (1 | gr(g, cov=B))", "no variable 'B' for cov="),
        ("y ~ 1 + (1 | gr(g))", r"gr\(g\) has no matrix"),
        ("y ~ 1 + (1 | gr(g, cov=M, prec=M))", "both given"),
        ("y ~ 1 + (1 | gr(g, covariance=M))", r"no option 'covariance'"),
        ("y ~ 1 + (1 | gr(g, h, cov=M))", "takes one grouping factor"),
        ("y ~ 1 + (1 | gr(cov=M))", "has no grouping factor"),
        ("y ~ 1 + (1 | gr(g, cov=M)/h)", r"gr\(\) stands alone"),
        ("y ~ 1 + (1 | gr(g, cov=M) + h)", r"gr\(\) stands alone"),
        ("y ~ 1 + (1 | gr(g, cov=M.nothing))", "cannot be evaluated"),
    ],
)
def test_bad_spellings_point_at_the_place(formula: str, message: str) -> None:
    data = {"y": np.arange(9.0) ** 1.5, "g": list("abc") * 3, "h": list("aabbccabc")}
    with pytest.raises(FormulaError, match=message):
        MixedLM.from_formula(formula, data, eval_env={"M": square(I3)})


def test_matrices_without_a_term_are_refused() -> None:
    data = {"y": np.arange(9.0) ** 1.5, "g": list("abc") * 3}
    with pytest.raises(DesignError, match=r"a matrix for 'h', which is no grouping factor"):
        MixedLM.from_formula("y ~ 1 + (1 | g)", data, cov={"h": square(I3)})
    with pytest.raises(DesignError, match="Pass a mapping"):
        MixedLM.from_formula("y ~ 1 + (1 | g)", data, cov=square(I3))


def test_as_many_levels_as_rows_need_relatives() -> None:
    data = {"y": np.arange(9.0) ** 1.5, "g": list("abcdefghi")}
    unit = square(np.eye(9), "abcdefghi")
    with pytest.raises(DesignError, match="9 levels for 9 observations"):
        MixedLM.from_formula("y ~ 1 + (1 | gr(g, cov=M))", data, eval_env={"M": unit})


def test_a_fit_of_minutes_is_told_before_it_starts() -> None:
    """By the plan of the factor, of a machine that is very much slower."""
    made = model("animal")
    problem = made.problem
    priors = problem.cp.layout.priors
    warn_of_time(made.design, problem)
    # 12 evaluations, each of 160 columns in one matrix
    for factor, words in ((1e6, "33 minutes"), (1e7, "5 hours"), (1e8, "2 days")):
        costs = Costs(small=0, small_rest=30, cube=4e-11 * factor)
        slow = replace(problem, given=PriorSolver.of(problem.cp.A, priors, costs))
        with pytest.warns(DesignWarning, match=rf"will take about {words}. Leave animals out"):
            warn_of_time(made.design, slow)


def test_a_fit_of_minutes_with_a_precision_speaks_of_no_animals() -> None:
    rng = np.random.default_rng(0)
    place = np.repeat(np.arange(60), 3)
    data = pd.DataFrame({"place": place, "y": rng.normal(size=60)[place] + rng.normal(size=180)})
    Q = sparse.diags_array([2.1 * np.ones(60), -np.ones(59), -np.ones(59)], offsets=[0, 1, -1])
    scope = {"Q": (sparse.csc_array(Q), np.arange(60))}
    made = MixedLM.from_formula("y ~ 1 + (1 | gr(place, prec=Q))", data, eval_env=scope)
    problem = made.problem
    costs = Costs(small=0, small_rest=60, cube=1.0)
    solver = PriorSolver.of(problem.cp.A, problem.cp.layout.priors, costs)
    with pytest.warns(DesignWarning, match=r"Levels of .*place.* A precision that joins fewer"):
        warn_of_time(made.design, replace(problem, given=solver))


def kin_of_groups() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"id": np.repeat(np.arange(12), 6)})
    data["y"] = rng.normal(size=12)[data["id"]] + rng.normal(size=72)
    data["count"] = rng.poisson(np.exp(0.3 * data["y"]))
    return data, pd.DataFrame(np.eye(12) + 0.3 * np.eye(12, k=1) + 0.3 * np.eye(12, k=-1))


@pytest.mark.parametrize("kind", [MixedLM, MixedGLM])
@pytest.mark.parametrize("group", ["id", "gr(id)", "gr(id, cov=A)", "gr(id, cov=B)"])
@pytest.mark.parametrize("key", ["id", "A", "B"])
def test_a_matrix_goes_by_its_name_or_by_that_of_its_factor(
    kind: Any, group: str, key: str
) -> None:
    """A is in scope, B is not."""
    data, A = kin_of_groups()
    response = "y" if kind is MixedLM else "count"
    more = {} if kind is MixedLM else {"family": sm.families.Poisson()}

    def fitted(group: str, cov: Any) -> float:
        formula = f"{response} ~ 1 + (1 | {group})"
        scope = {"A": A}
        return quietly(kind.from_formula(formula, data, cov=cov, eval_env=scope, **more)).llf

    if key != "id" and key not in group:
        with pytest.raises((FormulaError, DesignError)):
            fitted(group, {key: A})
        return
    assert_allclose(fitted(group, {key: A}), fitted("gr(id, cov=A)", None), rtol=1e-10)
    if group == "gr(id, cov=A)" and key == "id":
        assert_allclose(fitted(group, {key: A.copy()}), fitted(group, None), rtol=1e-10)
        with pytest.raises(
            FormulaError, match=r"cov=A is one matrix for id, and cov\['id'\] anoth"
        ):
            fitted(group, {key: 2.0 * A})
