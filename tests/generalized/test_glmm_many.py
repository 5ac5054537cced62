"""Many responses on one design: the estimates are those of single fits."""

from __future__ import annotations

import warnings

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
        ).fit()
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
