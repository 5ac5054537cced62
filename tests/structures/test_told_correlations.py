"""Correlations of structures where some columns have no variance: other pairs tell the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2
from simulation import quietly

from mixedlm_ext import MixedLM
from mixedlm_ext.estimation.varcorr import correlations
from mixedlm_ext.structures import Positions, structure_of

POSITIONS = Positions.of(np.array([0.0, 1.0, 2.5, 4.5])[:, None])
NAMES = ["cs", "hetar1", "toep", "hetexp"]


@pytest.mark.parametrize("zero", [[0], [1], [0, 2], [3], [0, 1]])
@pytest.mark.parametrize("name", NAMES)
def test_other_pairs_tell_it(name: str, zero: list[int]) -> None:
    kind = structure_of(name, 4, POSITIONS if name == "hetexp" else None)
    theta = np.concatenate([[1.0, 2.0, 0.5, 3.0], [0.6, 0.3, 0.2][: kind.n_theta - 4]])
    pairs = [pair for _, pair in kind.correlations(list("abcd"))]
    T = kind.template(theta)
    expected = np.array([correlations(T @ T.T)[pair] for pair in pairs])
    theta[zero] = 0.0
    T = kind.template(theta)
    C = correlations(T @ T.T)
    found = np.array([kind.told(C, pair) for pair in pairs])
    known = np.isfinite(found)
    assert_allclose(found[known], expected[known], rtol=1e-12)
    left = [i for i in range(4) if i not in zero]
    apart = {b - a for a in left for b in left if b > a}
    if name in ("cs", "hetexp"):
        assert known.all()
    else:
        assert known.tolist() == [b - a in apart for a, b in pairs]
    many = np.stack([C, C])
    assert_allclose([kind.told(many, pair) for pair in pairs], np.stack([found, found], axis=1))


@pytest.mark.parametrize("name", NAMES)
def test_one_column_tells_nothing(name: str) -> None:
    kind = structure_of(name, 4, POSITIONS if name == "hetexp" else None)
    T = kind.template(np.concatenate([[0.0, 0.0, 1.0, 0.0], np.full(kind.n_theta - 4, 0.3)]))
    C = correlations(T @ T.T)
    assert all(np.isnan(kind.told(C, pair)) for _, pair in kind.correlations(list("abcd")))


def data() -> pd.DataFrame:
    """Return four occasions, without any difference between groups at the first one."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame([(g, o) for g in range(14) for o in range(4) for _ in range(2)],
                         columns=["g", "o"])  # fmt: skip
    frame["f"] = "f" + frame["o"].astype(str)
    b = rng.normal(size=14)[frame["g"]] * np.array([0.0, 1.2, 1.5, 1.2])[frame["o"]]
    frame["y"] = b + rng.normal(size=len(frame))
    own = frame["o"] == 0
    frame.loc[own, "y"] -= frame[own].groupby("g")["y"].transform("mean")
    return frame


def test_profile_of_a_correlation_beside_a_variance_of_zero() -> None:
    """At the limit the likelihood is 3.84 below the largest."""
    model = MixedLM.from_formula("y ~ 1 + cs(0 + f | g)", data())
    result = quietly(model, reml=False)
    table = result.varcorr().set_index("name")
    assert table.loc["f[f0]", "variance"] == 0.0
    rho = table.loc["cs rho", "corr_1"]
    assert rho == pytest.approx(result.theta[-1], abs=1e-12)
    terms = result.tidy().set_index("term")["estimate"]
    assert terms["cor__rho"] == pytest.approx(rho)
    low, high = result.profile("cor(g, rho)").conf_int().loc["cor(g, rho)"]
    assert low < rho <= high
    held = quietly(model, reml=False, fix={"cor(g, rho)": low})
    assert_allclose(held.objective - result.objective, chi2.ppf(0.95, 1), atol=1e-4)
    assert result.bootstrap(3, rng=1).replicates["cor(g, rho)"].notna().all()


def test_a_range_without_end_is_infinite() -> None:
    frame = data()
    frame["t"] = frame["o"] * 1.3
    frame["y"] = np.random.default_rng(2).normal(size=14)[frame["g"]] * (1.0 + frame["o"])
    frame["y"] += 0.5 * np.random.default_rng(3).normal(size=len(frame))
    model = MixedLM.from_formula("y ~ 1 + exp(0 + position(t) | g, hom=False)", frame)
    assert np.isinf(quietly(model).varcorr()["range"].dropna()).all()
