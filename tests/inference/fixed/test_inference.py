"""Degrees of freedom, t and F tests: lme4's packages, the dense oracle, the textbook's formulas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
import statsmodels.formula.api as statsmodels_smf
from lme4_reference import CASES, Case, as_list, case_id, r_column
from numpy.testing import assert_allclose
from scipy import linalg, stats
from simulation import Example, example
from statsmodels.stats.anova import anova_lm
from statsmodels.tools.sm_exceptions import ValueWarning

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import DesignWarning, FitError
from mixedlm_ext.inference.fixed.satterthwaite import fai_cornelius

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
QUADRATIC = "Reaction ~ Days + I(Days**2) + (1 | Subject) + (0 + Days | Subject)"
NESTED = "score ~ Machine + (1 | Worker / Machine)"
METHODS = {"Satterthwaite": "satterthwaite", "Kenward-Roger": "kenward-roger"}

pytestmark = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")


@lru_cache
def load(name: str = "sleepstudy") -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


@lru_cache
def fit(formula: str = SLEEPSTUDY, name: str = "sleepstudy", **arguments: Any) -> Any:
    """A fit that is shared: tests must not change it."""
    return MixedLM.from_formula(formula, load(name)).fit(**arguments)


def refused(message: str, kind: type[Exception] = FitError) -> Any:
    return pytest.raises(kind, match=re.escape(message))


# ---------------------------------------------------------------- lmerTest and pbkrtest

TABLES = [
    pytest.param(reference, method, id=f"{method} {case_id(reference)}")
    for reference in CASES
    for method in ("satterthwaite", "kenward_roger")
    if method in reference
]


@pytest.mark.parametrize(("reference", "method"), TABLES)
def test_fixed_effects(reference: dict[str, Any], method: str) -> None:
    """The df of lmerTest's come from a numerical Hessian, those of pbkrtest are exact."""
    table = {key: as_list(value) for key, value in reference[method].items()}
    r = Case(reference).result.with_ddf(method.replace("_", "-"))
    names = [r_column(name) for name in r.params.index]
    assert sorted(names) == sorted(table["names"])
    order = [table["names"].index(name) for name in names]
    df, t, p = (np.array(table[key])[order] for key in ("df", "t", "p"))
    assert_allclose(r.df_resid_inference, df, rtol=1e-4)
    assert_allclose(r.tvalues, t, rtol=1e-4)
    assert_allclose(np.log(r.pvalues), np.log(p), rtol=1e-4, atol=1e-4)
    if "se" in table:
        assert_allclose(r.bse, np.array(table["se"])[order], rtol=1e-4)


ANOVA = [
    pytest.param(reference, table, id=f"{table} {case_id(reference)}")
    for reference in CASES
    for table in reference.get("anova", {})
    if table.startswith("III")
]


def sum_contrasts(formula: str) -> str:
    """Code the factors of the fixed part so that R's type III is the test of the coefficients."""
    fixed, bar, random = formula.partition(" + (")
    return re.sub(r"\b(recipe|temperature|Machine|Variety)\b", r"C(\1, Sum)", fixed) + bar + random


@pytest.mark.parametrize(("reference", "table"), ANOVA)
def test_terms_of_type_three(reference: dict[str, Any], table: str) -> None:
    """F, df and p of every term by `wald_test_terms`, and one by one by `f_test`."""
    expected = {key: as_list(value) for key, value in reference["anova"][table].items()}
    case = Case({**reference, "formula": sum_contrasts(reference["formula"])})
    r = case.result.with_ddf(METHODS[table.removeprefix("III ")])
    ours = r.wald_test_terms().table.drop("Intercept")
    ours.index = [re.sub(r"C\((\w+), Sum\)", r"\1", name) for name in ours.index]
    ours = ours.rename({"I(Days ** 2)": "I(Days^2)"}).loc[expected["names"]]
    assert ours["df_constraint"].tolist() == expected["numdf"]
    assert_allclose(ours["df_denom"].astype(float), expected["dendf"], rtol=1e-4)
    assert_allclose(ours["statistic"].astype(float), expected["F"], rtol=1e-4)
    assert_allclose(np.log(ours["pvalue"].astype(float)), np.log(expected["p"]), rtol=1e-4)


@pytest.mark.parametrize(
    ("ddf", "df", "F", "denominator"),
    [
        ("satterthwaite", [26.22989648, 114.99425943, 144.63101284], 23.36098985, 54.40750),
        ("kenward-roger", [26.29268892, 115.51478979, 144.10961828], 23.00538237, 42.14713769),
    ],
)
def test_published_numbers(ddf: str, df: list[float], F: float, denominator: float) -> None:
    r = fit(QUADRATIC, ddf=ddf)
    assert_allclose(r.df_resid_inference, df, rtol=1e-6)
    test = r.f_test(np.eye(3)[1:])
    assert_allclose([test.fvalue, test.df_denom], [F, denominator], rtol=1e-6)


# ---------------------------------------------------------------- Satterthwaite, dense

EXAMPLES = {
    "intercept": example("nested", ["1|g"], X="1xz", spread=1.5, seed=1),
    "slope": example("nested", ["1x|g"], X="1xz", n=90, spread=1.5, seed=3),
    "weights": example(
        "nested", ["1x|g"], X="1xz", n=90, weights=True, offset=True, spread=1.5, seed=2
    ),
    "crossed": example("crossed", ["1|g", "1|h"], X="1xz", spread=1.5, seed=5),
    "crossed weights": example(
        "partial", ["1x||g", "1|h"], X="1xz", n=90, weights=True, spread=1.5, seed=5
    ),
    "many": example("mixed", ["1x|g", "1z|h"], X="1xzu", n=120, weights=True, spread=1.5, seed=7),
}


@pytest.mark.parametrize("sigma", [None, 1.1])
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_satterthwaite_of_the_oracle(name: str, reml: bool, sigma: float | None) -> None:
    data = EXAMPLES[name]
    r = data.model().fit(reml=reml, sigma=sigma)
    assert r.converged
    assert not r.singular
    L = np.vstack([np.eye(len(r.params)), np.ones(len(r.params))])
    expected = [satterthwaite(row, data, r, reml, sigma) for row in L]
    assert_allclose(r.ddf_method.t(L), expected, rtol=1e-5)
    assert_allclose(r.t_test(L).df_denom, expected, rtol=1e-5)


def satterthwaite(
    contrast: np.ndarray, data: Example, r: Any, reml: bool, sigma: float | None
) -> float:
    """The oracle's df; with σ known only θ is estimated."""
    if sigma is None:
        return oracle.satterthwaite_df(contrast, theta=r.theta, reml=reml, **data.dense)
    arguments = {"theta": r.theta, "reml": reml, "sigma": sigma, **data.dense}
    C = oracle.estimates(**arguments).cov_beta
    g = oracle.variance_gradient(contrast, **arguments)[:-1]
    spread = g @ np.linalg.solve(oracle.hessian(**arguments) / 2, g)
    return float(2 * (contrast @ C @ contrast) ** 2 / spread)


def test_fai_cornelius() -> None:
    """F's mean: E = Σ ν/(ν - 2), df = 2E/(E - r)."""
    E = 10 / 8 + 20 / 18
    assert_allclose(fai_cornelius(np.array([10.0, 20.0])), 2 * E / (E - 2))
    assert fai_cornelius(np.array([7.0])) == 7.0
    assert fai_cornelius(np.array([1.5, 30.0])) == 2.0
    assert fai_cornelius(np.array([np.inf, np.inf])) == np.inf
    L = np.eye(3)[1:]
    r = fit(QUADRATIC)
    vectors = np.linalg.eigh(L @ r.cov_params().to_numpy() @ L.T)[1]
    nu = r.t_test(vectors.T @ L).df_denom
    E = (nu / (nu - 2)).sum()
    assert_allclose(r.f_test(L).df_denom, 2 * E / (E - 2), rtol=1e-10)


# ---------------------------------------------------------------- Kenward-Roger, dense


class DenseKenwardRoger:
    """The formulas of Kenward & Roger (1997), with n × n matrices."""

    def __init__(self, data: Example, theta: np.ndarray, sigma: float) -> None:
        X, n = data.X, len(data.y)
        w = np.ones(n) if data.w is None else data.w
        Sigma = sigma**2 * oracle.covariance(data.terms, theta, w)
        G = [*variance_patterns(data.terms), np.diag(1 / w)]
        S = np.linalg.inv(Sigma)
        self.Phi = np.linalg.inv(X.T @ S @ X)
        R = S - S @ X @ self.Phi @ X.T @ S
        self.P = [-X.T @ S @ g @ S @ X for g in G]
        Q = [[X.T @ S @ g @ S @ h @ S @ X for h in G] for g in G]
        information = np.array([[np.trace(R @ g @ R @ h) / 2 for h in G] for g in G])
        self.W = np.linalg.inv(information)
        inner = sum(
            self.W[i, j] * (Q[i][j] - self.P[i] @ self.Phi @ self.P[j])
            for i in range(len(G))
            for j in range(len(G))
        )
        self.cov = self.Phi + 2 * self.Phi @ inner @ self.Phi

    def scale_and_df(self, L: np.ndarray) -> tuple[float, float]:
        """λ and m of the F test of Lβ (their section 3.2), L (r, p)."""
        Theta = L.T @ np.linalg.inv(L @ self.Phi @ L.T) @ L
        r, m = len(L), len(self.P)
        D = [Theta @ self.Phi @ P @ self.Phi for P in self.P]
        pairs = [(i, j) for i in range(m) for j in range(m)]
        A1 = sum(self.W[i, j] * np.trace(D[i]) * np.trace(D[j]) for i, j in pairs)
        A2 = sum(self.W[i, j] * np.trace(D[i] @ D[j]) for i, j in pairs)
        B = (A1 + 6 * A2) / (2 * r)
        g = ((r + 1) * A1 - (r + 4) * A2) / ((r + 2) * A2)
        denominator = 3 * r + 2 * (1 - g)
        c1, c2, c3 = g / denominator, (r - g) / denominator, (r + 2 - g) / denominator
        E = 1 / (1 - A2 / r)
        V = 2 / r * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
        rho = V / (2 * E**2)
        df = 4 + (r + 2) / (r * rho - 1)
        return df / (E * (df - 2)), df


def variance_patterns(terms: Sequence[oracle.Term]) -> list[np.ndarray]:
    """∂Σ/∂φ for every variance and covariance φ of the random effects."""
    out = []
    for term in terms:
        Z = oracle.term_Z(term)
        for row, column in oracle.free_entries(term):
            within = np.zeros((term.X.shape[1],) * 2)
            within[row, column] = within[column, row] = 1.0
            out.append(Z @ linalg.block_diag(*[within] * term.levels) @ Z.T)
    return out


@pytest.mark.parametrize("name", EXAMPLES)
def test_kenward_roger_of_the_textbook(name: str) -> None:
    data = EXAMPLES[name]
    r = data.model().fit(ddf="kenward-roger")
    assert not r.singular
    dense = DenseKenwardRoger(data, r.theta, r.sigma)
    p = len(r.params)
    assert_allclose(r.cov_params(), dense.cov, rtol=1e-6, atol=1e-8 * dense.cov.max())
    assert_allclose(r.bse, np.sqrt(np.diag(dense.cov)), rtol=1e-7)
    assert_allclose(
        r.df_resid_inference, [dense.scale_and_df(row[None, :])[1] for row in np.eye(p)], rtol=1e-6
    )
    for L in (np.eye(p), np.eye(p)[1:], np.ones((1, p))):
        scale, df = dense.scale_and_df(L)
        away = L @ r.params
        F = scale * away @ np.linalg.solve(L @ dense.cov @ L.T, away) / len(L)
        test = r.f_test(L)
        assert_allclose([test.fvalue, test.df_denom], [F, df], rtol=1e-6)
        assert_allclose(test.pvalue, stats.f.sf(F, len(L), df), rtol=1e-5)


# ---------------------------------------------------------------- the methods


def test_with_ddf_does_not_change_the_fit() -> None:
    r = fit()
    before = str(r.summary().tables[1])
    other = r.with_ddf("kenward-roger").with_ddf("residual")
    assert (other.ddf, r.ddf) == ("residual", "satterthwaite")
    assert_allclose(other.df_resid_inference, 178)
    assert_allclose(other.pvalues, 2 * stats.t.sf(abs(r.tvalues), 178))
    assert_allclose(other.f_test("Days = 0").df_denom, 178)
    assert str(r.summary().tables[1]) == before
    assert_allclose(r.with_ddf("satterthwaite").pvalues, r.pvalues)
    assert type(other) is type(r)
    assert other.model is r.model


def test_normal() -> None:
    r = fit(ddf="normal")
    assert (r.use_t, r.ddf, fit().use_t) == (False, "normal", True)
    assert np.isinf(r.df_resid_inference).all()
    assert_allclose(r.pvalues, 2 * stats.norm.sf(abs(r.tvalues)))
    assert_allclose(
        r.conf_int().loc["Days"], r.params["Days"] + r.bse["Days"] * 1.959964 * np.r_[-1, 1]
    )
    assert_allclose(r.f_test("Days = 0").pvalue, r.pvalues["Days"])
    assert_allclose(r.wald_test("Days = 0").pvalue, r.pvalues["Days"])
    assert_allclose(r.t_test("Days = 0").pvalue, r.pvalues["Days"])


def test_methods_that_cannot_be_used() -> None:
    with refused("Kenward-Roger needs a REML fit. Refit with reml=True"):
        fit(reml=False).with_ddf("kenward-roger")
    with refused(
        "'kenward-roger-full' counts variances estimated as zero, which is not told apart"
    ):
        fit().model.fit(ddf="kenward-roger-full", sigma=20.0)
    for call in (fit().with_ddf, lambda ddf: fit().model.fit(ddf=ddf)):
        with refused("ddf='kenward' is not known. Did you mean 'kenward-roger'? Use one of satt"):
            call("kenward")
    with refused("Use one of satterthwaite, kenward-roger, residual, normal."):
        fit().with_ddf(None)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_variance_of_zero_is_held_fixed(ddf: str) -> None:
    """Dyestuff2: without a batch variance the mean has n - 1; pbkrtest keeps it and says 5."""
    r = fit("Yield ~ 1 + (1 | Batch)", "dyestuff2", ddf=ddf)
    assert r.singular
    assert_allclose(r.df_resid_inference, 29.0, rtol=1e-6)
    assert_allclose(r.bse, r.sigma / np.sqrt(30), rtol=1e-6)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize(
    ("formula", "name"),
    [
        ("Q('yield') ~ nitro * Variety + (nitro | Block) + (1 | Block:Variety)", "oats"),
        ("angle ~ recipe + temp + (temp | replicate)", "cake"),
        ("strength ~ 1 + (1 | batch) + (1 | batch:cask)", "pastes"),
    ],
)
def test_singular_fits_have_finite_tests(formula: str, name: str, ddf: str) -> None:
    r = fit(formula, name, ddf=ddf)
    assert ((r.df_resid_inference > 1) & (r.df_resid_inference < r.nobs)).all()
    assert np.isfinite(r.bse).all()
    assert np.isfinite(r.wald_test_terms().table.astype(float)).all(axis=None)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("formula", [SLEEPSTUDY, "Reaction ~ Days + (1 | Subject)"])
def test_units_do_not_matter(formula: str, unit: float) -> None:
    data = load().assign(Reaction=unit * load()["Reaction"], Days=load()["Days"] / unit)
    r = MixedLM.from_formula(formula, data).fit()
    for ddf in ("satterthwaite", "kenward-roger"):
        expected = fit(formula).with_ddf(ddf).df_resid_inference
        assert_allclose(r.with_ddf(ddf).df_resid_inference, expected, rtol=1e-5)


def test_variance_that_is_known() -> None:
    """With a fixed σ the variance of the slope does not depend on θ in a balanced design."""
    r = fit("Reaction ~ Days + (1 | Subject)", sigma=30.0)
    assert_allclose(r.df_resid_inference, [22.47654626, np.inf], rtol=1e-6)
    assert_allclose(r.pvalues["Days"], 2 * stats.norm.sf(r.tvalues["Days"]))
    assert_allclose(r.f_test("Days = 0").pvalue, r.pvalues["Days"])
    for ddf in ("satterthwaite", "kenward-roger"):
        zero = fit(ddf=ddf).t_test([[0, 0], [0, 1]])
        assert np.isnan(zero.tvalue[0])
        assert_allclose(zero.df_denom, [np.inf, 17.0], rtol=1e-5)


def test_no_fixed_effects() -> None:
    r = fit("Reaction ~ 0 + (1 | Subject)")
    for ddf in ("satterthwaite", "kenward-roger", "residual", "normal"):
        other = r.with_ddf(ddf)
        assert other.df_resid_inference.shape == other.pvalues.shape == (0,)
        assert "No fixed effects" in str(other.summary())


# ---------------------------------------------------------------- tests of hypotheses


@pytest.mark.parametrize("L", ["Days = 0", [0, 1], ([[0, 1]], [0.0]), np.array([[0.0, 1.0]])])
def test_one_hypothesis_in_all_its_forms(L: Any) -> None:
    r = fit()
    t, F, wald = r.t_test(L), r.f_test(L), r.wald_test(L)
    assert_allclose(np.ravel(t.effect), r.params["Days"])
    assert_allclose(np.ravel(t.sd), r.bse["Days"])
    assert_allclose(np.ravel(t.tvalue), r.tvalues["Days"])
    assert_allclose(np.ravel(t.pvalue), r.pvalues["Days"])
    assert_allclose(t.conf_int(), [r.conf_int().loc["Days"]])
    assert_allclose([F.fvalue, wald.statistic], r.tvalues["Days"] ** 2)
    assert_allclose([F.pvalue, wald.pvalue], r.pvalues["Days"])
    assert (F.df_num, wald.df_num) == (1, 1)
    assert_allclose([F.df_denom, wald.df_denom], r.df_resid_inference[1])
    z, chi2 = r.t_test(L, use_t=False), r.wald_test(L, use_f=False)
    assert_allclose(np.ravel(z.pvalue), 2 * stats.norm.sf(r.tvalues["Days"]))
    assert_allclose(chi2.pvalue, 2 * stats.norm.sf(r.tvalues["Days"]))


def test_joint_hypothesis() -> None:
    r = fit()
    C = np.asarray(r.cov_params())
    test = r.f_test("Days = 10, Intercept = 250")
    away = r.params - [250, 10]
    assert_allclose(test.fvalue, away @ np.linalg.solve(C, away) / 2)
    assert_allclose(r.f_test("Days = 10, Intercept = 250", cov_p=4 * C).fvalue, test.fvalue / 4)
    by_inverse = r.f_test((np.eye(2), [250, 10]), invcov=np.linalg.inv(C))
    assert_allclose([by_inverse.fvalue, by_inverse.pvalue], [test.fvalue, test.pvalue])
    fewer = r.wald_test((np.eye(2), [250, 10]), df_constraints=1)
    assert_allclose(fewer.fvalue, 2 * test.fvalue)
    assert "F=" in str(fewer)
    with pytest.warns(ValueWarning, match="3 rows but rank 2; 2 are tested"):
        redundant = r.f_test([[1, 0], [0, 1], [1, 1]])
    assert_allclose(redundant.fvalue, r.f_test(np.eye(2)).fvalue)


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.ValueWarning")
def test_bad_hypotheses() -> None:
    with refused("the hypothesis cannot be read: ", FitError) as caught:
        fit().t_test("Dayz = 0")
    assert "The fixed effects are Intercept, Days; pass an expression" in str(caught.value)
    with refused("the hypothesis cannot be read: ", FitError):
        fit().f_test([1, 2, 3])
    with refused("the hypothesis has only zeros; give some fixed effect a coefficient.", FitError):
        fit().f_test([[0, 0]])


def test_terms() -> None:
    r = fit(NESTED, "machines")
    table = r.wald_test_terms().table
    assert table.index.tolist() == ["Intercept", "Machine"]
    assert_allclose(table.loc["Machine", "statistic"], r.f_test(np.eye(3)[1:]).fvalue)
    assert table["df_constraint"].tolist() == [1, 2]
    more = r.wald_test_terms(
        skip_single=True, extra_constraints=[("B", [[0, 1, 0]])], combine_terms=["Mach"]
    ).table
    assert more.index.tolist() == ["Machine", "Mach", "B"]
    assert_allclose(more.loc["Mach", "statistic"], more.loc["Machine", "statistic"])
    assert_allclose(more.loc["B", "statistic"], r.tvalues.iloc[1] ** 2)
    pairs = r.t_test_pairwise("Machine").result_frame
    assert_allclose(pairs["coef"], [*r.params[1:], r.params.iloc[2] - r.params.iloc[1]])
    assert list(pairs.index) == ["B-A", "C-A", "C-B"]
    normal = r.with_ddf("normal").wald_test_terms()
    assert "df_denom" not in normal.table
    assert "chi2" in str(normal)


def test_terms_of_a_rank_deficient_matrix() -> None:
    data = load().assign(twice=2 * load()["Days"])
    with pytest.warns(DesignWarning, match="twice"):
        model = MixedLM.from_formula("Reaction ~ Days + twice + (1 | Subject)", data)
    r = model.fit()
    full = fit("Reaction ~ Days + (1 | Subject)")
    assert list(r.params.index) == ["Intercept", "Days"]
    assert r.wald_test_terms().table.index.tolist() == ["Intercept", "Days"]
    assert_allclose(r.wald_test_terms().table, full.wald_test_terms().table, rtol=1e-6)
    assert_allclose(r.fittedvalues, full.fittedvalues, rtol=1e-6)
    assert_allclose(r.predict(data), full.fittedvalues, rtol=1e-6)
    assert_allclose(r.t_test("Days = 0").pvalue, full.t_test("Days = 0").pvalue, rtol=1e-6)


def test_sums_of_squares_are_refused() -> None:
    """statsmodels' tables for least squares fail rather than print nonsense."""
    ols = statsmodels_smf.ols("Reaction ~ Days", load()).fit()
    for call in (
        lambda: anova_lm(fit()),
        lambda: anova_lm(fit(), typ=3),
        lambda: anova_lm(ols, fit()),
        lambda: ols.compare_f_test(fit()),
    ):
        with refused("'ssr'", AttributeError):
            call()
