"""Predictors of rows that belong to several levels: a file that knows as much as the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from simulation import quietly

from mixedlm_ext import MixedGLM, MixedLM, Predictor
from mixedlm_ext.errors import DesignError, DesignWarning

N, MEMBERS = 200, 12
NAMES = np.array([f"s{i:02}" for i in range(MEMBERS)])
KINDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "text": (lambda codes: pd.Series(NAMES[codes], dtype=object), "new"),
    "integers": (lambda codes: pd.Series(codes).astype("Int64"), 99),
    "numbers": (lambda codes: pd.Series(codes, dtype=float), 99.0),
    "categories": (lambda codes: pd.Series(pd.Categorical(NAMES[codes], NAMES)), None),
}
TERMS = [
    "(1 | mm(g1, g2))",
    "(1 + x | mm(g1, g2, weights=[w1, w2]))",
    "(1 | mm(g1, g2, weights=[w1, 2 * w2], normalize=False)) + (1 | herd)",
]


def rows(kind: str) -> pd.DataFrame:
    """Return rows some of which have one member."""
    rng = np.random.default_rng(3)
    make, _ = KINDS[kind]
    one, two = rng.integers(0, MEMBERS, (2, N))
    alone = rng.random(N) < 0.2
    data = pd.DataFrame({"x": rng.normal(size=N), "w1": rng.uniform(0.5, 1.0, N)})
    data["w2"] = np.where(alone, 0.0, rng.uniform(0.5, 1.0, N))
    data["g1"], data["g2"] = make(one), make(two).where(~alone)
    data["herd"] = rng.integers(0, 8, N)
    b, c = rng.normal(size=(2, MEMBERS))
    eta = b[one] + np.where(alone, 0.0, b[two]) + (1.0 + c[one]) * data["x"]
    data["y"] = eta + rng.normal(size=N)
    data["count"] = rng.poisson(np.exp(np.clip(0.3 * eta, -2.0, 2.0)))
    return data


def saved(result: Any, path: Path) -> Predictor:
    result.to_predictor().save(path / "model.json")
    return Predictor.load(path / "model.json")


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_predicts_as_the_results_do(kind: str, terms: str, tmp_path: Path) -> None:
    data = rows(kind)
    result = quietly(MixedLM.from_formula(f"y ~ x + {terms}", data))
    predictor = saved(result, tmp_path)
    assert_allclose(predictor.predict(data), result.fittedvalues, atol=1e-10)
    new = data.iloc[:50].copy()
    beyond = KINDS[kind][1]
    if beyond is not None:
        new.loc[0, "g1"] = beyond
    for new_levels in ("population", "nan"):
        expected = result.predict(new, new_levels=new_levels)
        assert_allclose(predictor.predict(new, new_levels=new_levels), expected, atol=1e-10)
    assert np.isnan(expected[0]) == (beyond is not None)
    population = result.predict(new, which="population")
    assert_allclose(predictor.predict(new, which="population"), population, atol=1e-10)


def test_one_row_may_miss_a_member(tmp_path: Path) -> None:
    data = rows("text")
    result = quietly(MixedLM.from_formula("y ~ x + (1 | mm(g1, g2))", data))
    predictor = saved(result, tmp_path)
    alone = int(np.flatnonzero(data["g2"].isna())[0])
    row = {"x": data["x"][alone], "g1": data["g1"][alone], "g2": None}
    assert predictor.predict(row) == pytest.approx(result.fittedvalues[alone], abs=1e-10)
    assert np.isnan(predictor.predict({**row, "x": None}))


def test_levels_that_are_not_known_are_named(tmp_path: Path) -> None:
    data = rows("text")
    predictor = saved(quietly(MixedLM.from_formula("y ~ x + (1 | mm(g1, g2))", data)), tmp_path)
    new = data.assign(g1="calf", g2=None)
    with pytest.raises(DesignError, match=r"not seen the level 'calf' of 'mm\(g1, g2\)'"):
        predictor.predict(new, new_levels="error")
    new = data.assign(g1=np.where(data["x"] > 0, "calf", "cow"), g2=None)
    with pytest.warns(DesignWarning, match="none of the 2 levels"):
        predictor.predict(new)
    with pytest.raises(DesignError, match="no column 'g2'"):
        predictor.predict(data.drop(columns="g2"))


def test_generalized_models(tmp_path: Path) -> None:
    data = rows("text")
    formula = "count ~ x + (1 | mm(g1, g2, weights=[w1, w2]))"
    result = quietly(MixedGLM.from_formula(formula, data, family=sm.families.Poisson()))
    assert_allclose(saved(result, tmp_path).predict(data), result.predict(data), rtol=1e-10)
