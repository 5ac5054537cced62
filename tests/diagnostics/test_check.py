"""`check()`: what it finds, what it leaves alone, how it reads."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import fit

from mixedlm_ext import datasets


def load(name: str) -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


def made(seed: int = 0, levels: int = 30, per_level: int = 8) -> pd.DataFrame:
    """Well-behaved data: y depends on x, subjects differ in intercept and slope."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(levels), per_level)
    x = rng.standard_normal(len(codes))
    b = rng.standard_normal((levels, 2))
    y = 1 + x + b[codes, 0] + b[codes, 1] * x + rng.standard_normal(len(codes))
    return pd.DataFrame({"y": y, "x": x, "subject": codes + 1})


def topics(result: Any) -> list[str]:
    return [finding.topic for finding in result.check().findings]


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("dyestuff", "Yield ~ 1 + (1 | Batch)"),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
        ("pastes", "strength ~ 1 + (1 | batch/cask)"),
        ("machines", "score ~ Machine + (0 + Machine | Worker)"),
    ],
)
def test_nothing_stands_out(name: str, formula: str) -> None:
    check = fit(formula, load(name)).check()
    assert check.findings == []
    assert str(check) == repr(check) == "Nothing stands out."


def test_well_behaved_data_are_left_alone() -> None:
    found = [topics(fit("y ~ x + (x | subject)", made(seed))) for seed in range(20)]
    assert sum(bool(f) for f in found) <= 2


def test_sleepstudy() -> None:
    """The outlying row of Subject 332 and the tails are known."""
    check = fit("Reaction ~ Days + (Days | Subject)", load("sleepstudy")).check()
    assert [f.topic for f in check.findings] == ["extreme rows", "residuals"]
    assert "row 56 (Subject 332), 5.2 above" in " ".join(str(check).split())
    assert max(map(len, str(check).splitlines())) <= 78


def test_a_variance_of_zero() -> None:
    (finding,) = fit("Yield ~ 1 + (1 | Batch)", load("dyestuff2")).check().findings
    assert finding.topic == "singular" and finding.where == "Batch"
    assert "levels of Batch do not differ" in finding.text


def test_a_perfect_correlation() -> None:
    result = fit("angle ~ recipe * temp + (temp | recipe:replicate)", load("cake"))
    (finding,) = [f for f in result.check().findings if f.topic == "singular"]
    assert "Intercept and temp are estimated to go together perfectly" in finding.text
    sign = np.sign(result.varcorr()["corr_1"].iloc[1])
    assert f"(correlation {sign:.0f})" in finding.text


def test_one_column_without_variance() -> None:
    data = made()
    data["y"] = 1 + data["y"].groupby(data["subject"]).transform("mean")
    rng = np.random.default_rng(8)
    noise = rng.standard_normal(len(data))
    data["z"] = np.tile(rng.standard_normal(8), 30)
    X = np.column_stack([np.ones(8), data["z"][:8]])
    residual = noise.reshape(30, 8) - noise.reshape(30, 8) @ X @ np.linalg.inv(X.T @ X) @ X.T
    data["y"] += residual.ravel()  # no level has a slope of its own
    (finding,) = [
        f for f in fit("y ~ z + (z || subject)", data).check().findings if f.topic == "singular"
    ]
    assert "z is estimated to be the same for every level" in finding.text


def test_a_combination_of_three_columns() -> None:
    """b₃ = b₁ + 2b₂ in every level."""
    rng = np.random.default_rng(1)
    codes = np.repeat(np.arange(40), 12)
    X = np.column_stack([np.ones(480), rng.standard_normal((480, 2))])
    b = rng.standard_normal((40, 2))
    b = np.column_stack([b, b[:, 0] + 2 * b[:, 1]])
    y = np.einsum("nk,nk->n", X, b[codes]) + 0.01 * rng.standard_normal(480)
    data = pd.DataFrame({"y": y, "u": X[:, 1], "v": X[:, 2], "g": codes})
    result = fit("y ~ 1 + (u + v | g)", data)
    (finding,) = [f for f in result.check().findings if f.topic == "singular"]
    words = re.search(
        r"(\S+) × Intercept \+ u - (\S+) × v is estimated to be the same", finding.text
    )
    assert words is not None
    c = np.array([float(words[1]), 1.0, -float(words[2])])
    assert_allclose(c, [0.5, 1.0, -0.5], atol=0.1)
    cov = result.cov_re.to_numpy()
    assert c @ cov @ c < 1e-4 * np.trace(cov)


def test_groups_of_one_row_and_few_groups() -> None:
    data = made(levels=30)
    data = data[(data["subject"] > 2) | ~data["subject"].duplicated()]
    (finding,) = fit("y ~ x + (1 | subject)", data).check().findings[:1]
    assert finding.topic == "single rows"
    assert "2 of the 30 levels of subject have only one row (1 and 2)" in finding.text
    data = made(levels=4, per_level=30)
    assert "few levels" in topics(fit("y ~ x + (1 | subject)", data))


def test_an_extreme_level() -> None:
    data = made(levels=60)
    data.loc[data["subject"] == 7, "y"] += 25
    check = fit("y ~ x + (1 | subject)", data).check()
    (finding,) = [f for f in check.findings if f.topic == "extreme levels"]
    assert "7 in Intercept" in finding.text and "above" in finding.text


def test_badly_scaled_columns() -> None:
    data = made()
    data["year"] = 2000 + data["x"]
    data["income"] = 1e5 * np.random.default_rng(1).standard_normal(len(data))
    texts = [f.text for f in fit("y ~ year + income + (1 | subject)", data).check().findings
             if f.topic == "scale"]  # fmt: skip
    assert any("income and year are of very different size" in t for t in texts)
    assert any("year lies far from zero" in t for t in texts)


def test_skewed_residuals_and_levels() -> None:
    rng = np.random.default_rng(2)
    data = made(levels=60)
    data["y"] += rng.exponential(size=len(data)) ** 2 * 3
    (finding,) = [
        f for f in fit("y ~ x + (1 | subject)", data).check().findings if f.topic == "residuals"
    ]
    assert "long tail of high values" in finding.text and "logarithm" in finding.text
    data = made(levels=60)
    data["y"] -= (8 * rng.exponential(size=61))[data["subject"]]
    found = fit("y ~ x + (1 | subject)", data).check().findings
    (finding,) = [f for f in found if f.topic == "random effects"]
    assert "long tail of low values" in finding.text


def test_an_influential_group() -> None:
    data = made(levels=12)
    own = data["subject"] == 4
    data.loc[own, "x"] = data.loc[own, "x"] * 8
    data.loc[own, "y"] = -5 * data.loc[own, "x"]
    (finding,) = [
        f for f in fit("y ~ x + (1 | subject)", data).check().findings if f.topic == "influence"
    ]
    assert "Without 4, x goes from" in finding.text


def test_no_convergence_is_said() -> None:
    import warnings

    from mixedlm_ext import MixedLM

    unbalanced = load("sleepstudy")[7:]  # of balanced data the first evaluation is the last
    model = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", unbalanced)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = model.fit(maxiter=1)
    assert topics(result)[0] == "convergence"
