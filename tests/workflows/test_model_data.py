"""The container of endog and exog is made without statsmodels' constructor: nothing differs."""

import pickle

import numpy as np
import pandas as pd
import pytest
import statsmodels
from packaging.version import Version
from statsmodels.base.data import ModelData, PandasData

from mixedlm_ext import MixedLM, RandomTerm

RNG = np.random.default_rng(11)
DATA = pd.DataFrame(
    {
        "y": RNG.standard_normal(30),
        "x": RNG.standard_normal(30),
        "f": list("uvw") * 10,
        "g": list("aabbccddee") * 3,
    },
    index=pd.Index(np.arange(100, 130), name="row"),
)
FORMULAS = ["y ~ x + (1 | g)", "y ~ 0 + x + (1 | g)", "y ~ 0 + f + (1 | g)", "y ~ 0 + (1 | g)"]
DATA["y"] += 3.0 * RNG.standard_normal(5)[np.unique(DATA["g"], return_inverse=True)[1]]
ATTRIBUTES = (
    "k_constant", "const_idx", "xnames", "ynames", "param_names", "cov_names",
)  # fmt: skip


@pytest.mark.parametrize("formula", FORMULAS)
def test_frames_are_those_of_statsmodels(formula: str) -> None:
    model = MixedLM.from_formula(formula, DATA)
    design, own = model.design, model.data
    y = pd.Series(design.y, index=design.index, name=design.endog_name)
    X = pd.DataFrame(design.X, index=design.index, columns=list(design.x_names))
    if not len(X.columns) and Version(statsmodels.__version__) < Version("0.15"):
        pytest.skip("statsmodels itself needs a column")
    if not len(X.columns):
        try:
            np.linalg.matrix_rank(design.X)
        except ValueError:
            pytest.skip("older numpy has no rank of no columns, which statsmodels asks for")
    theirs = PandasData(y, X)
    for name in ATTRIBUTES:
        assert getattr(own, name) == getattr(theirs, name), name
    for name in ("endog", "exog"):
        one, other = getattr(own, name), getattr(theirs, name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype and one.shape == other.shape
        assert getattr(model, name) is one
    pd.testing.assert_series_equal(own.orig_endog, theirs.orig_endog)
    pd.testing.assert_frame_equal(own.orig_exog, theirs.orig_exog)
    pd.testing.assert_index_equal(own.row_labels, theirs.row_labels)
    assert set(vars(theirs)) <= set(vars(own))  # once the frames were asked for
    p = len(design.x_names)
    if p:
        values, square = RNG.standard_normal(p), RNG.standard_normal((p, p))
        pd.testing.assert_series_equal(
            own.wrap_output(values, "columns"), theirs.wrap_output(values, "columns")
        )
        pd.testing.assert_frame_equal(
            own.wrap_output(square, "cov"), theirs.wrap_output(square, "cov")
        )
    pd.testing.assert_series_equal(
        own.wrap_output(design.y, "rows"), theirs.wrap_output(design.y, "rows")
    )
    again = pickle.loads(pickle.dumps(model)).data
    pd.testing.assert_frame_equal(again.orig_exog, own.orig_exog)


def test_arrays_are_those_of_statsmodels() -> None:
    X = np.column_stack([np.ones(30), DATA["x"]])
    own = MixedLM(DATA["y"].to_numpy(), X, [RandomTerm(DATA["g"].to_numpy())]).data
    theirs = ModelData(DATA["y"].to_numpy(), X)
    for name in ATTRIBUTES:
        if name != "ynames" or getattr(own, name) == "y":
            assert getattr(own, name) == getattr(theirs, name), name
    for name in ("endog", "exog", "orig_endog", "orig_exog"):
        np.testing.assert_array_equal(getattr(own, name), getattr(theirs, name))


def test_the_covariance_of_a_result_is_there_when_asked_for() -> None:
    result = MixedLM.from_formula(FORMULAS[0], DATA).fit()
    expected = result.cov_params() / result.scale
    pd.testing.assert_frame_equal(result.normalized_cov_params, expected)
    loaded = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(loaded.normalized_cov_params, expected)
    result.remove_data()
    pd.testing.assert_frame_equal(result.normalized_cov_params, expected)
