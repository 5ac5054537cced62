"""Many responses on one design: the estimates are those of single fits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import FitError, MixedGLM

FAMILY = sm.families.NegativeBinomial(alpha=1.0)


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    donor = np.repeat(np.arange(10), 24)
    frame = pd.DataFrame({"donor": donor, "treated": np.tile([0.0, 1.0], 120)})
    frame["depth"] = rng.uniform(0.5, 2.0, 240)
    for j in range(6):
        mu = frame["depth"] * np.exp(0.4 * j - 0.5 + 0.3 * frame["treated"])
        mu = mu * np.exp(0.4 * rng.normal(size=10)[donor])
        frame[f"gene{j}"] = rng.poisson(rng.gamma(2.0, mu / 2.0))
    return frame


@pytest.fixture(scope="module")
def model(cells: pd.DataFrame) -> MixedGLM:
    return MixedGLM.from_formula(
        "gene0 ~ treated + (1 | donor)", cells, family=FAMILY, exposure="depth"
    )


def test_each_is_a_single_fit(cells: pd.DataFrame, model: MixedGLM) -> None:
    genes = cells.filter(like="gene")
    many = model.fit_many(genes)
    assert many.converged.all()
    assert many.scale.name == "alpha"
    for name in ("gene0", "gene3"):
        one = MixedGLM.from_formula(
            f"{name} ~ treated + (1 | donor)", cells, family=FAMILY, exposure="depth"
        ).fit(tol=1e-11)
        assert many.llf[name] == pytest.approx(one.llf, abs=1e-8)
        np.testing.assert_allclose(many.params.loc[name], one.params, atol=1e-7)
        np.testing.assert_allclose(many.bse.loc[name], one.bse, rtol=1e-6)
        np.testing.assert_allclose(many.pvalues.loc[name], one.pvalues, rtol=1e-4)
        assert many.scale[name] == pytest.approx(one.family.alpha, rel=1e-5)
        assert many.result(name).llf == pytest.approx(one.llf, abs=1e-8)


def test_order_and_processes_do_not_matter(cells: pd.DataFrame, model: MixedGLM) -> None:
    genes = cells.filter(like="gene")
    many = model.fit_many(genes)
    turned = model.fit_many(genes[genes.columns[::-1]])
    pd.testing.assert_frame_equal(turned.params.loc[many.params.index], many.params)
    pytest.importorskip("joblib")
    pd.testing.assert_frame_equal(model.fit_many(genes, n_jobs=2).bse, many.bse)


def test_genes_without_counts_are_named(cells: pd.DataFrame, model: MixedGLM) -> None:
    genes = cells.filter(like="gene").assign(none=0, half=np.where(cells["treated"] == 1, 3, 0))
    with pytest.warns(ConvergenceWarning, match="2 of 8 responses have no estimate"):
        many = model.fit_many(genes)
    assert sorted(many.failures.index) == ["half", "none"]
    assert "constant (0)" in many.failures["none"]
    assert "'Intercept', 'treated'" in many.failures["half"] or "treated" in many.failures["half"]
    assert many.params.loc["none"].isna().all()
    with pytest.raises(FitError, match="no response 'gene99'"):
        many.result("gene99")


def test_values_that_the_family_cannot_have(cells: pd.DataFrame, model: MixedGLM) -> None:
    genes = cells[["gene0"]].assign(part=0.5 + cells["gene0"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = model.fit_many(genes)
    assert many.converged["gene0"]
    assert "whole numbers" in many.failures["part"]


F = sm.families
MANY = 24


@pytest.fixture(scope="module")
def sparse_genes(cells: pd.DataFrame) -> pd.DataFrame:
    """Genes of all levels, half of them Poisson or without differences between donors."""
    rng = np.random.default_rng(8)
    donor = cells["donor"].to_numpy()
    level, size = rng.normal(0.0, 1.5, MANY), np.exp(rng.normal(0.5, 0.7, MANY))
    effect = np.where(np.arange(MANY) % 3 == 0, 0.0, 0.5) * rng.normal(size=(10, MANY))
    mu = cells["depth"].to_numpy()[:, None] * np.exp(level + effect[donor])
    shape = np.where(np.arange(MANY) % 4 == 0, 1e8, size)
    counts = rng.poisson(rng.gamma(shape, mu / shape))
    return pd.DataFrame(counts, index=cells.index, columns=[f"g{j}" for j in range(MANY)])


@pytest.mark.parametrize("term", ["(1 | donor)", "(treated | donor)", "(1 | donor) + (1 | plate)"])
@pytest.mark.parametrize(
    "family", [FAMILY, F.Poisson(), F.Binomial(), F.Gamma(F.links.Log())], ids=lambda f: type(f)
)
def test_likelihoods_and_verdicts_are_those_of_single_fits(
    cells: pd.DataFrame, sparse_genes: pd.DataFrame, family: Any, term: str
) -> None:
    genes = sparse_genes.iloc[:, :8]
    if isinstance(family, F.Binomial):
        genes = (genes > 1).astype(float)
    elif isinstance(family, F.Gamma):
        genes = genes + 0.5
    frame = cells[["donor", "treated"]].join(genes).assign(plate=np.arange(len(cells)) % 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedGLM.from_formula(f"g0 ~ treated + {term}", frame, family=family)
        many = model.fit_many(genes)
        for name in genes:
            if name in many.failures and "constant" in many.failures[name]:
                continue
            one = MixedGLM.from_formula(f"{name} ~ treated + {term}", frame, family=family).fit()
            assert many.converged[name] == one.converged
            assert many.llf[name] == pytest.approx(one.llf, abs=1e-6)
            if one.converged:
                np.testing.assert_allclose(many.params.loc[name], one.params, atol=1e-3)
                np.testing.assert_allclose(many.bse.loc[name], one.bse, rtol=1e-3)
                np.testing.assert_allclose(many.theta.loc[name], one.theta, atol=2e-3)


def test_every_gene_is_fitted_or_said(cells: pd.DataFrame, sparse_genes: pd.DataFrame) -> None:
    frame = cells.join(sparse_genes)
    model = MixedGLM.from_formula("g0 ~ treated + (1 | donor)", frame, FAMILY, exposure="depth")
    genes = sparse_genes.assign(
        none=0, one_cell=np.eye(len(cells), dtype=int)[3], control=np.where(cells["treated"], 0, 2)
    )
    with pytest.warns(ConvergenceWarning, match="3 of 27"):
        many = model.fit_many(genes)
    assert set(many.failures.index) == {"none", "one_cell", "control"}
    assert not many.converged[list(many.failures.index)].any()
    assert many.converged.sum() == MANY
    poisson = many.scale.iloc[:MANY:4]
    assert (poisson < 0.3).all()
    assert (many.theta.iloc[:MANY:3] < 0.4).all(axis=None)
    assert (many.theta.iloc[:, 0] >= 0).sum() == MANY + 2


def test_a_poisson_gene_has_the_poisson_fit(cells: pd.DataFrame) -> None:
    """Where alpha is zero, everything is as for the Poisson distribution."""
    rng = np.random.default_rng(1)
    y = np.round(5.0 + rng.uniform(-2, 2, len(cells)))
    frame = cells.assign(y=y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = MixedGLM.from_formula("y ~ treated + (1 | donor)", frame, FAMILY).fit_many(
            frame[["y"]]
        )
        one = MixedGLM.from_formula("y ~ treated + (1 | donor)", frame, FAMILY).fit()
        poisson = MixedGLM.from_formula("y ~ treated + (1 | donor)", frame, F.Poisson()).fit()
    assert many.converged["y"]
    assert many.scale["y"] < 1e-6
    assert one.family.alpha < 1e-6
    assert many.llf["y"] == pytest.approx(poisson.llf, abs=1e-5)
    assert one.llf == pytest.approx(poisson.llf, abs=1e-5)
    np.testing.assert_allclose(many.bse.loc["y"], poisson.bse, rtol=1e-5)
    np.testing.assert_allclose(one.bse, poisson.bse, rtol=1e-5)


@pytest.mark.parametrize("link", [F.links.Logit(), F.links.CLogLog(), F.links.Probit()])
def test_separated_answers_are_said(link: Any) -> None:
    """A column without a failure where x is one, beside one that has estimates."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": np.repeat(np.arange(10), 12), "x": np.tile([0, 1], 60)})
    Y = pd.DataFrame({"fine": rng.integers(0, 2, 120), "all": rng.integers(0, 2, 120)})
    Y["all"] = Y["all"].where(frame["x"] == 0, 1)
    model = MixedGLM.from_formula("fine ~ x + (1 | g)", frame.join(Y), F.Binomial(link))
    with pytest.warns(ConvergenceWarning, match="1 of 2 responses"):
        many = model.fit_many(Y)
    assert "'x' separates the response" in many.failures["all"]
    assert many.converged["fine"]
    assert np.isnan(many.bse.loc["all", "x"])


def test_a_response_that_the_means_reproduce_is_said() -> None:
    """Without noise the dispersion goes to zero: no fit of many may call that converged."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": np.repeat(np.arange(10), 12), "x": rng.normal(size=120)})
    exact = np.exp(0.3 + 0.5 * frame["x"] + 0.4 * rng.normal(size=10)[frame["g"]])
    Y = pd.DataFrame({"exact": exact, "fine": exact * rng.gamma(4.0, 0.25, 120)})
    family = F.Gamma(F.links.Log())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = MixedGLM.from_formula("fine ~ x + (1 | g)", frame.join(Y), family).fit_many(Y)
        one = MixedGLM.from_formula("exact ~ x + (1 | g)", frame.join(Y), family).fit()
    assert not one.converged
    assert not many.converged["exact"]
    assert many.failures["exact"].startswith(one.optimization.message[:40])
    assert many.converged["fine"]
