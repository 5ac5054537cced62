"""What the data cannot estimate is marked, by one rule, wherever it is asked for."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import patsy
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.design.rank import independent_columns, null_space
from mixedlm_ext.errors import DesignError, DesignWarning, FitError
from mixedlm_ext.prediction.predictor import Predictor

CELLS = "y ~ a * b + t + (1 | g)"


def data() -> pd.DataFrame:
    """Three by three combinations, one of them without rows."""
    rng = np.random.default_rng(0)
    n = 120
    frame = pd.DataFrame(
        {
            "a": rng.choice(list("xyz"), n),
            "b": rng.choice(list("uvw"), n),
            "g": rng.integers(0, 10, n),
            "t": rng.normal(size=n),
            "w": rng.uniform(0.5, 2.0, n),
        }
    )
    frame["y"] = rng.normal(size=n) + frame["t"] + (frame["a"] == "x")
    return frame[~((frame["a"] == "x") & (frame["b"] == "u"))]


def every_cell() -> pd.DataFrame:
    cells = [(a, b, 0.5, 3) for a in "xyz" for b in "uvw"]
    return pd.DataFrame(cells, columns=["a", "b", "t", "g"], index=list("ABCDEFGHI"))


def quiet_fit(formula: str = CELLS, frame: pd.DataFrame | None = None, **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = data() if frame is None else frame
        return MixedLM.from_formula(formula, frame, **arguments).fit()


def marked(call: Callable[[], Any]) -> Any:
    """Return the answer to something that is partly not estimable."""
    with pytest.warns(DesignWarning, match="not estimable"):
        return call()


# ---------------------------------------------------------------- the rule


def test_the_rule_is_the_row_space() -> None:
    """Against the projection on the rows of X, for random X of several scales and ranks."""
    rng = np.random.default_rng(1)
    for rank, p in ((1, 2), (3, 5), (4, 4), (2, 6)):
        X = rng.normal(size=(30, rank)) @ rng.normal(size=(rank, p))
        X = X * 10.0 ** rng.integers(-6, 7, p)
        space = null_space(X, independent_columns(X), np.arange(p))
        inside = rng.normal(size=(4, len(X))) @ X
        outside = inside + rng.normal(size=(4, p)) * np.sqrt((X**2).mean(axis=0))
        if rank == p:
            assert space is None
            continue
        assert space is not None and space.basis.shape == (p, p - rank)
        assert space.estimable(inside).all()
        assert not space.estimable(outside).any()
        assert_allclose(X / space.scale @ space.basis, 0.0, atol=1e-10)


def test_the_rule_with_columns_of_zeros_and_unwanted_ones() -> None:
    X = np.array([[1.0, 0.0, 2.0], [1.0, 0.0, 5.0], [1.0, 0.0, 7.0]])
    space = null_space(X, np.array([0, 2]), np.arange(3))
    assert space is not None
    assert space.estimable([[1, 0, 9], [1, 1e-3, 9], [np.nan, 0, 1]]).tolist() == [
        True,
        False,
        True,
    ]
    assert null_space(X, np.array([0, 2]), np.array([0, 2])) is None
    doubled = np.column_stack([X[:, [0, 2]], 2 * X[:, 2], X[:, 2] ** 3])
    space = null_space(doubled, np.array([0, 1]), np.array([0, 1, 2]))
    assert space is not None  # the last column was left out by the user: it counts as zero
    rows = [[1, 1, 2, 77], [1, 1, 1, 1], [1, 1, 1, np.inf], [1, 1, 2, np.nan]]
    assert space.estimable(rows).tolist() == [True, False, False, True]


# ---------------------------------------------------------------- predictions


CODINGS = [
    CELLS,
    "y ~ C(a, Treatment('z')) * C(b, Treatment('w')) + t + (1 | g)",
    "y ~ C(a, Sum) * b + t + (1 | g)",
    "y ~ 0 + t + a:b + (1 | g)",
    "y ~ b / a + t + (1 | g)",
]


def test_predictions_do_not_depend_on_the_reference_level() -> None:
    fits = [quiet_fit(formula) for formula in CODINGS]
    expected = marked(lambda: fits[0].predict(every_cell()))
    assert expected.isna().tolist() == [True] + [False] * 8
    for result in fits:
        assert_allclose(marked(lambda r=result: r.predict(every_cell())), expected, atol=1e-5)
        population = marked(lambda r=result: r.predict(every_cell(), which="population"))
        assert population.isna().tolist() == [True] + [False] * 8
        frame = marked(lambda r=result: r.get_prediction(every_cell()).summary_frame())
        assert frame.iloc[0].isna().all() and frame.iloc[1:].notna().all(axis=None)
        assert_allclose(frame["mean"], expected, atol=1e-5)


def test_the_other_rows_are_as_without_the_empty_cell() -> None:
    """Cells coded as one factor of eight levels: full rank, the same model."""
    frame = data().assign(cell=lambda d: d["a"] + d["b"])
    full = quiet_fit("y ~ cell + t + (1 | g)", frame)
    new = every_cell().assign(cell=lambda d: d["a"] + d["b"]).iloc[1:]
    part = marked(lambda: quiet_fit().get_prediction(every_cell())).summary_frame().iloc[1:]
    assert_allclose(part, full.get_prediction(new).summary_frame(), rtol=1e-5)


@pytest.mark.parametrize("which", ["conditional", "population"])
def test_a_single_row_is_an_error(which: str, tmp_path: Path) -> None:
    result = quiet_fit()
    predictor = result.to_predictor()
    predictor.save(tmp_path / "p.json")
    for call in (
        result.predict,
        result.get_prediction,
        predictor.predict,
        Predictor.load(tmp_path / "p.json").predict,
    ):
        with pytest.raises(DesignError, match=r"prediction of row 'A' is not estimable.*aliased"):
            call(every_cell().iloc[:1], which=which)
    with pytest.raises(DesignError, match="not estimable"):
        predictor.predict({"a": "x", "b": "u", "t": 0.0, "g": 1})


def test_the_file_of_a_predictor_is_plain_json(tmp_path: Path) -> None:
    """No Infinity for columns that the user left out."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    result = quiet_fit(drop_cols=["t"])
    result.to_predictor().save(tmp_path / "p.json")
    json.loads((tmp_path / "p.json").read_text(), parse_constant=refuse)
    again = Predictor.load(tmp_path / "p.json")
    assert_allclose(
        marked(lambda: again.predict(every_cell())), marked(lambda: result.predict(every_cell()))
    )


def test_the_rule_survives() -> None:
    """Pickling, removed data, other degrees of freedom, a predictor and its file."""
    result = quiet_fit()
    expected = marked(lambda: result.predict(every_cell()))
    again = pickle.loads(pickle.dumps(result))
    removed = pickle.loads(pickle.dumps(result))
    removed.remove_data()
    others = [again, removed, pickle.loads(pickle.dumps(removed)), result.with_ddf("kenward-roger")]
    others += [result.to_predictor(), pickle.loads(pickle.dumps(result.to_predictor()))]
    others += [removed.to_predictor()]
    for other in others:
        assert_allclose(marked(lambda o=other: o.predict(every_cell())), expected)


def test_missing_values_and_empty_cells_in_one_frame() -> None:
    new = every_cell()
    new.loc["E", "t"] = np.nan
    result = quiet_fit()
    for model in (result, result.to_predictor()):
        with pytest.warns(DesignWarning, match=r"in 1 of \d rows \(the first: 'A'\)"):
            values = model.predict(new)
        assert values.isna().tolist() == [name in "AE" for name in new.index]


def test_weights_subset_and_frames_of_other_kinds() -> None:
    pl = pytest.importorskip("polars")
    weighted = quiet_fit(weights="w", subset=data()["t"] > -1.5)
    expected = marked(lambda: weighted.predict(every_cell()))
    assert expected.isna().sum() == 1
    new = every_cell()
    for other in (new.to_dict("list"), pl.from_pandas(new), new.astype({"a": "category"})):
        assert_allclose(marked(lambda o=other: weighted.predict(o)), expected)


def test_simulations_at_cells_without_data() -> None:
    drawn = marked(lambda: quiet_fit().simulate(3, exog=every_cell(), rng=1))
    assert drawn.isna().all(axis=1).tolist() == [True] + [False] * 8


def test_arrays() -> None:
    frame = data()
    X = np.asarray(patsy.dmatrix("a * b + t", frame))
    with pytest.warns(DesignWarning, match="rank deficient"):
        result = MixedLM(frame["y"].to_numpy(), X, [RandomTerm(frame["g"].to_numpy())]).fit()
    info = patsy.dmatrix("a * b + t", frame).design_info
    new = np.asarray(patsy.build_design_matrices([info], every_cell())[0])
    values = marked(lambda: result.predict(new, which="population"))
    expected = marked(lambda: quiet_fit().predict(every_cell(), which="population"))
    assert_allclose(values, expected, rtol=1e-6)
    with pytest.raises(DesignError, match="prediction of row 0 is not estimable"):
        result.predict(new[:1], which="population")


def test_covariates_that_are_aliased() -> None:
    """Where t2 = 2t nothing is lost; where it is not, t and t2 cannot be told apart."""
    frame = data().assign(t2=lambda d: 2 * d["t"])
    result, plain = quiet_fit("y ~ t + t2 + (1 | g)", frame), quiet_fit("y ~ t + (1 | g)", frame)
    new = pd.DataFrame({"t": [1.0, 2.0, 3.0], "t2": [2.0, 4.0, 5.0], "g": 1})
    values = marked(lambda: result.predict(new))
    assert_allclose(values.iloc[:2], plain.predict(new).iloc[:2], rtol=1e-6)
    assert np.isnan(values.iloc[2])
    assert_allclose(result.predict(new.iloc[:2]), values.iloc[:2])
    left_out = quiet_fit("y ~ t + t2 + (1 | g)", frame, drop_cols=["t2"])
    assert_allclose(left_out.predict(new), plain.predict(new), rtol=1e-6)


def test_full_rank_has_no_note() -> None:
    result = quiet_fit("y ~ a + b + t + (1 | g)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result.predict(every_cell()).notna().all()
        assert result.to_predictor().predict(every_cell()).notna().all()


# ---------------------------------------------------------------- tests of hypotheses


def rows_of_all_columns(result: Any) -> Any:
    info = result.model.design.fixed_info
    return np.asarray(patsy.build_design_matrices([info], every_cell())[0])


def test_t_tests_of_all_columns() -> None:
    result = quiet_fit()
    X = rows_of_all_columns(result)
    test = marked(lambda: result.t_test(X))
    expected = marked(lambda: result.get_prediction(every_cell(), which="population"))
    assert_allclose(test.effect, expected.predicted_mean)
    assert_allclose(test.sd.ravel(), expected.se_mean)
    assert_allclose(test.df_denom, expected.df)
    assert np.isnan([test.effect[0], np.ravel(test.pvalue)[0], test.df_denom[0]]).all()
    normal = marked(lambda: result.t_test(X, use_t=False))
    assert_allclose(normal.effect, test.effect)
    assert_allclose(np.ravel(normal.tvalue), np.ravel(test.tvalue))
    assert np.isnan(normal.conf_int()[0]).all() and np.isfinite(normal.conf_int()[1:]).all()
    with pytest.raises(FitError, match=r"is not estimable: .*full rank only without 'a\[T.z\]:b"):
        result.t_test(X[:1])
    with pytest.raises(FitError, match="is not estimable"):
        result.t_test(X[0])
    value = result.t_test((X[1:3], [0.5, 0.5]))
    assert_allclose(value.tvalue.ravel(), (test.effect[1:3] - 0.5) / test.sd.ravel()[1:3])


def test_t_tests_by_names_that_were_left_out() -> None:
    result = quiet_fit()
    (lost,) = result.model.design.dropped
    with pytest.raises(FitError, match="is not estimable"):
        result.t_test(f"{lost} = 0")
    # z against y at w: both cells have data
    text = f"a[T.z] + {lost} - a[T.y] - a[T.y]:b[T.w]"
    rows = rows_of_all_columns(result)
    assert_allclose(result.t_test(text).tvalue, result.t_test(rows[8] - rows[5]).tvalue)
    assert_allclose(result.wald_test(text).pvalue, result.t_test(text).pvalue)


def test_joint_tests_need_every_row() -> None:
    result = quiet_fit()
    X = rows_of_all_columns(result)
    for call in (result.wald_test, result.f_test):
        with pytest.raises(FitError, match=r"is not estimable in its rows 0 \(from 0\)"):
            call(X[:3])
    with pytest.raises(FitError, match="not estimable"):
        result.wald_test(X[:3], use_f=False)
    kept = result.model.design.column_map
    rank = result.wald_test(X[1:4] - X[4:7])
    assert_allclose(rank.statistic, result.wald_test((X[1:4] - X[4:7])[:, kept]).statistic)


def test_the_coefficients_of_the_fit_are_tested_as_reported() -> None:
    result = quiet_fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = result.t_test(np.eye(len(result.params)))
    assert_allclose(test.pvalue, result.pvalues)
    assert_allclose(result.t_test("a[T.y] = 0").pvalue, result.pvalues["a[T.y]"])
    data_row = result.t_test(result.model.exog[:1])
    first = result.predict(data().iloc[:1], which="population")
    assert_allclose(data_row.effect, first)
