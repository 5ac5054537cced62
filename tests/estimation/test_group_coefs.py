"""Coefficients of the groups: fixed and random columns are matched by what they are."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.plots.shrinkage import _fixed_part

pytestmark = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")


def make_data() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    n, groups = 360, 12
    g = np.repeat(np.arange(groups), n // groups)
    data = pd.DataFrame({"g": g, "Days": rng.uniform(0, 9, n), "z": rng.normal(size=n)})
    data["w"] = rng.normal(size=n)
    data["a"] = rng.choice(["p", "q"], n)
    data["b"] = rng.choice(["r", "s", "t"], n)
    modes = rng.normal(size=(groups, 7))
    data["y"] = data["Days"] + modes[g, 0] + modes[g, 1] * data["Days"] + rng.normal(size=n)
    data["y"] += modes[g, 2] * data["z"] * data["Days"] + modes[g, 3] * (data["a"] == "q")
    cell = pd.factorize(data["a"] + data["b"])[0]
    data["y"] += 3.0 * rng.normal(size=6)[cell] + rng.normal(size=6)[cell] * data["Days"]
    data["y"] += modes[g, 4] * ((data["a"] == "q") & (data["b"] == "s"))
    return data


DATA = make_data()


def coefficients(formula: str) -> tuple[Any, pd.DataFrame]:
    r = MixedLM.from_formula(formula, DATA).fit()
    (frame,) = r.group_coefs().values()
    return r, frame


@pytest.mark.parametrize(
    "fixed, random",
    [
        ("Days:z", "0 + z:Days"),
        ("z:Days", "0 + Days:z"),
        ("Days*z", "z*Days"),
        ("z*Days", "0 + Days:z"),
        ("Days*z*w", "0 + w:z:Days"),
        ("a*b", "b*a"),
        ("a*Days", "0 + Days:a"),
        ("Days:a", "0 + a:Days"),
        ("a:b - 1", "0 + b:a"),
        ("C(a, Sum)*Days", "Days*C(a, Sum)"),
        ("C(a)*Days", "Days*a"),
        ("center(Days)*z", "0 + z:center(Days)"),
        ("I(Days*z)", "0 + z:Days"),
        ("Q('Days'):z", "0 + z:Days"),
    ],
)
def test_one_coefficient_for_one_column(fixed: str, random: str) -> None:
    r, frame = coefficients(f"y ~ {fixed} + ({random} || g)")
    modes = r.random_effects["g"]
    design = r.model.design
    X = pd.DataFrame(design.X, columns=design.x_names)
    Z = pd.DataFrame(design.terms[0].X, columns=design.terms[0].columns)
    # every column of the frame is the coefficient of one column of the data
    both = X.join(Z.drop(columns=[c for c in Z if c in X]), how="left")
    columns = {name: both[name] for name in frame}
    distinct = {tuple(np.round(column, 9)) for column in columns.values()}
    assert len(distinct) == len(columns)
    own = frame.to_numpy()[design.terms[0].codes]
    fitted = sum(own[:, j] * column for j, column in enumerate(columns.values()))
    assert_allclose(fitted, r.fittedvalues, rtol=1e-8, atol=1e-8)
    assert list(frame)[: X.shape[1]] == list(X)
    assert len(frame) == len(modes)


def test_an_interaction_in_another_order_is_one_coefficient() -> None:
    r, frame = coefficients("y ~ Days*z + (0 + z:Days | g)")
    assert list(frame) == ["Intercept", "Days", "z", "Days:z"]
    expected = r.params["Days:z"] + r.random_effects["g"]["z:Days"]
    assert_allclose(frame["Days:z"], expected)
    copy = MixedLM.from_formula("y ~ Days*z + (0 + z:Days | g)", DATA).fit()
    copy.remove_data()
    for other in (copy, pickle.loads(pickle.dumps(copy))):
        pd.testing.assert_frame_equal(other.group_coefs()["g"], frame)


def test_the_shrinkage_picture_adds_the_same_fixed_effect() -> None:
    r, _ = coefficients("y ~ Days*z + (0 + z:Days | g)")
    assert_allclose(_fixed_part(r.fit_record, 0), r.params["Days:z"])


def test_arrays_are_matched_by_their_columns() -> None:
    X = np.column_stack([np.ones(len(DATA)), DATA["Days"], DATA["z"]])
    terms = [RandomTerm(DATA["g"].to_numpy(), X[:, [0, 2]], name="g")]  # z is x1 here
    r = MixedLM(DATA["y"].to_numpy(), X, terms).fit()
    frame = r.group_coefs()["g"]
    assert list(frame) == ["const", "x1", "x2"]
    modes = r.random_effects["g"].to_numpy()
    assert_allclose(frame.to_numpy()[:, [0, 2]], np.asarray(r.params)[[0, 2]] + modes)
    assert_allclose(frame["x1"], r.params[1])
    other = [RandomTerm(DATA["g"].to_numpy(), DATA["w"].to_numpy(), name="g")]
    r = MixedLM(DATA["y"].to_numpy(), X, other).fit()
    frame = r.group_coefs()["g"]
    assert list(frame) == ["const", "x1", "x2", "x1 (g)"]
    assert_allclose(frame["x1 (g)"], r.random_effects["g"].iloc[:, 0])


def test_a_grouping_in_another_order_is_one_frame() -> None:
    r = MixedLM.from_formula("y ~ Days + (1 | a:b) + (0 + Days | b:a)", DATA).fit()
    coefs = r.group_coefs()
    assert list(coefs) == ["a:b"]
    slopes = r.random_effects["b:a"]["Days"]
    for a, b in coefs["a:b"].index:
        expected = r.params["Days"] + slopes[b, a]
        assert_allclose(coefs["a:b"].loc[(a, b), "Days"], expected)
        expected = r.params["Intercept"] + r.random_effects["a:b"]["Intercept"][a, b]
        assert_allclose(coefs["a:b"].loc[(a, b), "Intercept"], expected)


def test_other_levels_of_a_factor_of_the_same_name_are_another_frame() -> None:
    one, two = DATA["g"].to_numpy(), DATA["g"].to_numpy() % 5
    terms = [RandomTerm(one, name="g"), RandomTerm(two, DATA["z"].to_numpy(), name="g")]
    r = MixedLM(DATA["y"], np.ones(len(DATA)), terms).fit()
    assert {name: len(frame) for name, frame in r.group_coefs().items()} == {"g": 12, "g.1": 5}
    terms[1] = RandomTerm(np.where(one > 5, one + 1, one), DATA["z"].to_numpy(), name="g")
    r = MixedLM(DATA["y"], np.ones(len(DATA)), terms).fit()
    assert [list(frame.index)[-1] for frame in r.group_coefs().values()] == [11, 12]
