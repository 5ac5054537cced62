"""`Spec` with `Rows`: other rows are one replacement, one rule reads their weights and offset."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixedlm_ext import MixedLM, MixedLMResults, RandomTerm, datasets
from mixedlm_ext.design import Design
from mixedlm_ext.errors import DesignError, DesignWarning, FormulaError

FORMULA = "Reaction ~ np.log(Days + 1) + (Days | Subject)"


def data() -> pd.DataFrame:
    frame: pd.DataFrame = datasets.sleepstudy.load_pandas().data
    frame.index = pd.Index([f"r{i}" for i in range(len(frame))])
    return frame.assign(w=np.linspace(0.5, 2.0, len(frame)), o=np.arange(float(len(frame))))


def fit(**given: Any) -> MixedLMResults:
    return MixedLM.from_formula(FORMULA, data(), **given).fit()


@pytest.fixture(scope="module")
def named() -> MixedLMResults:
    """A fit that named columns of weights and offset."""
    return fit(weights="w", offset="o")


@pytest.fixture(scope="module")
def arrays() -> MixedLMResults:
    """A fit that had them as arrays."""
    frame = data()
    return fit(weights=frame["w"].to_numpy(), offset=frame["o"].to_numpy())


def assert_rows(d: Design, other: Design) -> None:
    """Two designs have the same rows; codes may number other levels."""
    for name in ("y", "X", "weights", "offset", "index"):
        assert_array_equal(getattr(d, name), getattr(other, name))
    for term, expected in zip(d.terms, other.terms, strict=True):
        assert_array_equal(term.X, expected.X)
        assert_array_equal(term.levels[term.codes], expected.levels[expected.codes])
    assert d.frame is not None and other.frame is not None
    pd.testing.assert_frame_equal(d.frame, other.frame)


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_mask", [True, False])
def test_some_rows_are_those_of_a_design_of_some_data(named: MixedLMResults, as_mask: bool) -> None:
    design, mask = named.model.design, np.arange(180) % 10 != 3
    mask[:50] = False
    part = design.take(mask if as_mask else np.flatnonzero(mask))
    model = MixedLM.from_formula(FORMULA, data()[mask], weights="w", offset="o")
    assert_rows(part, model.design)
    assert_array_equal(part.rows.positions, np.flatnonzero(mask))
    assert len(part.rows) == mask.sum() and part.n_data == 180
    assert part.spec is design.spec and len(part.terms[0].levels) == 18
    assert_array_equal(part.new_data(data()).X, design.X)


def test_rows_of_rows_stand_in_the_data_of_the_first() -> None:
    frame = data()
    frame.iloc[[4, 100], 0] = np.nan
    first = MixedLM.from_formula(FORMULA, frame, weights="w", offset="o").design
    assert first.frame is not None
    inner = first.frame.copy()
    inner.iloc[10, inner.columns.get_loc("Days")] = np.nan
    inner.iloc[[20, 21], inner.columns.get_loc("w")] = 0.0
    with pytest.warns(DesignWarning, match="zero"):
        second = MixedLM.from_formula(FORMULA, inner, weights="w", offset="o").design
    rows = second.rows.within(replace(first.rows, n_zero_weight=5))
    assert_array_equal(rows.positions, np.delete(np.arange(180), [4, 11, 21, 22, 100]))
    assert (rows.n_data, rows.n_missing, rows.n_zero_weight) == (180, 3, 7)
    assert rows.at_hand is first.rows.at_hand is not None


def test_no_rows_know_no_labels() -> None:
    frame = data()
    frame.iloc[4, 0] = np.nan
    rows = MixedLM.from_formula(FORMULA, frame, missing="exclude").design.rows
    assert rows.full_index is not None and rows.at_hand is not None
    gone = rows.none()
    assert (len(gone), gone.full_index, gone.at_hand) == (0, None, None)
    assert gone.frame is not None and list(gone.frame) == list(rows.frame)


def test_another_response_may_have_another_name(named: MixedLMResults) -> None:
    design = named.model.design
    twice = design.with_response(2 * design.y, "twice")
    assert_array_equal(twice.y, 2 * design.y)
    assert (twice.endog_name, design.endog_name) == ("twice", "Reaction")
    assert design.with_response(design.y).spec is design.spec


def test_some_rows_of_new_data() -> None:
    frame = data().assign(f="a")
    frame.iloc[90:, -1] = "b"
    frame.loc[frame["f"] == "b", "Days"] = 0.0
    with pytest.warns(DesignWarning, match="rank deficient"):
        model = MixedLM.from_formula("Reaction ~ f * Days + (1 | Subject)", frame, offset="o")
    new = frame.iloc[80:100].assign(Days=3.0, Reaction=1.5)
    new.iloc[3, new.columns.get_loc("o")] = np.nan
    made, mask = model.design.new_data(new, need_response=True), np.arange(20) % 3 == 0
    assert not made.estimable.all() and not made.complete.all()
    part, expected = made.take(mask), model.design.new_data(new[mask], need_response=True)
    for name in ("X", "offset", "index", "complete", "estimable", "y"):
        assert_array_equal(getattr(part, name), getattr(expected, name))
    for one, two in zip(part.terms["Subject"], expected.terms["Subject"], strict=True):
        assert_array_equal(one, two)


def test_names_of_coefficients_outlive_the_rows(named: MixedLMResults) -> None:
    design = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data()).design
    light = design.without_rows()
    assert light.coefficient_names == design.coefficient_names == (("Intercept", "Days"),)
    again = pickle.loads(pickle.dumps(light))
    assert again.coefficient_names == design.coefficient_names
    assert len(again.rows) == 0 and again.rows.at_hand is None


@pytest.mark.parametrize("twin", [copy.copy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_copy_reads_new_rows(named: MixedLMResults, twin: Callable[[Any], Design]) -> None:
    again = twin(named.model.design)
    assert_array_equal(again.new_data(data()).X, named.model.design.X)
    assert again.scope.values["np"] is np


def test_what_a_fit_computed_outlives_its_rows() -> None:
    result = fit(weights="w")
    other = result.with_ddf("residual")
    engine, root = result.fit_record.engine, result.fit_record.unweighted_root
    result.remove_data()
    assert result.fit_record.engine is engine
    assert_allclose(result.fit_record.unweighted_root, root)
    assert len(result.fit_record.design.y) == 0
    assert len(other.fit_record.design.y) == len(other.model.endog) == 180


@pytest.mark.parametrize("removed", [False, True])
def test_errors_of_expressions_outlive_the_rows(removed: bool) -> None:
    frame = data().assign(day=pd.date_range("2020", periods=180))
    result = MixedLM.from_formula("Reaction ~ bs(Days, df=4) + (1 | Subject)", frame).fit()
    if removed:
        result.remove_data()
    for fitted in (result, pickle.loads(pickle.dumps(result))):
        with pytest.raises(FormulaError, match=r"cannot evaluate 'bs\(Days, df=4\)'"):
            fitted.predict(frame.assign(Days=100))
    dated = MixedLM.from_formula("Reaction ~ np.log(day.dt.day) + (1 | Subject)", frame).fit()
    with pytest.raises(FormulaError, match="column 'day' is a date, no number"):
        pickle.loads(pickle.dumps(dated)).predict(frame.assign(day="x"))


# --- weights and offset of new rows ---------------------------------------------------------------


def in_order(result: MixedLMResults, offset: Any) -> list[Callable[[Any], Any]]:
    """Every way to predict with an offset, as a function of the data."""
    return [
        lambda new: result.predict(new, offset=offset),
        lambda new: result.get_prediction(new, offset=offset, weights=1.0).predicted_mean,
        lambda new: result.to_predictor().predict(new, offset=offset),
        lambda new: result.simulate(exog=new, offset=offset, weights=1e300, conditional=True)[0],
    ]


@pytest.mark.parametrize("form", [list, np.asarray, lambda v: pd.Series(v, index=data().index[:4])])
def test_an_offset_is_read_alike(arrays: MixedLMResults, form: Callable[[Any], Any]) -> None:
    new, values = data().head(4), [3.0, 1.0, np.nan, 2.0]
    expected = np.asarray(arrays.fittedvalues[:4]) - np.arange(4.0) + values
    for call in in_order(arrays, form(values)):
        assert_allclose(call(new), expected)


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2.0), np.int64(2)])
def test_a_number_is_the_offset_of_all_rows(arrays: MixedLMResults, number: Any) -> None:
    expected = np.asarray(arrays.fittedvalues[:4]) - np.arange(4.0) + 2.0
    for call in in_order(arrays, number):
        assert_allclose(call(data().head(4)), expected)


def test_a_named_offset_is_found_or_missed(named: MixedLMResults) -> None:
    for call in in_order(named, None):
        assert_allclose(call(data().tail(4)), named.fittedvalues[-4:])
        with pytest.raises(DesignError, match=r"no column 'o', the offset of the fit.*Add it"):
            call(data().drop(columns="o"))
    for call in in_order(named, "oo"):
        with pytest.raises(DesignError, match=r"no column 'oo' for offset=. Did you mean 'o'"):
            call(data())
    for call in in_order(named, "w"):
        expected = named.fittedvalues - data()["o"] + data()["w"]
        assert_allclose(call(data()), expected)


def test_labels_of_other_rows_are_refused(named: MixedLMResults) -> None:
    new, other = data().head(4), pd.Series(1.0, index=data().index[1:5])
    for call in in_order(named, other):
        with pytest.raises(DesignError, match="offset has another index than the data"):
            call(new)
    for call in with_weights(named, other):
        with pytest.raises(DesignError, match="weights has another index than the data"):
            call(new)


def with_weights(result: MixedLMResults, weights: Any) -> list[Callable[[Any], Any]]:
    """Every way to weight new rows: both return the residual variance or spread of a row."""
    return [
        lambda new: result.get_prediction(new, weights=weights, offset=0).var_resid,
        lambda new: result.simulate(400, rng=1, exog=new, weights=weights, conditional=True,
                                    offset=0).var(axis=1),
    ]  # fmt: skip


def test_weights_are_read_alike(named: MixedLMResults) -> None:
    new = data().head(4).assign(v=[1.0, np.nan, 4.0, 0.5])
    for form in ("v", new["v"], new["v"].tolist()):
        exact, drawn = (np.asarray(call(new)) for call in with_weights(named, form))
        assert_allclose(exact, named.scale / new["v"], rtol=1e-12)
        assert_allclose(drawn, exact, rtol=0.25)
    exact, drawn = (np.asarray(call(new)) for call in with_weights(named, 2))
    assert_allclose(exact, named.scale / 2)
    assert_allclose(drawn, exact, rtol=0.25)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, -2.0, 1.0, 1.0], "weights has a negative value: -2 at row 'r1'"),
        ([np.nan, 1.0, -2.0, 1.0], "weights has a negative value: -2 at row 'r2'"),
        ([1.0, 1.0, np.inf, 1.0], "weights is not finite: inf at row 'r2'"),
        ([1.0, 1.0], "weights has 2 values; the data have 4 rows"),
        (["a", "b", "c", "d"], "weights is not numeric"),
        ("ww", "no column 'ww' for weights=. Did you mean 'w'"),
    ],
)
def test_bad_weights_are_refused_alike(named: MixedLMResults, values: Any, message: str) -> None:
    for call in with_weights(named, values):
        with pytest.raises(DesignError, match=message):
            call(data().head(4))


def test_forgotten_arrays_are_asked_for(arrays: MixedLMResults) -> None:
    for call in with_weights(arrays, None):
        with pytest.raises(DesignError, match="the fit had an array of weights; give those"):
            call(data().head(4))
    for call in in_order(arrays, None):
        with pytest.raises(DesignError, match="the fit had an array as offset; give that"):
            call(data().head(4))


def test_weights_of_the_fit_where_data_have_none(named: MixedLMResults) -> None:
    light = data().drop(columns="w")
    assert_allclose(named.get_prediction(light).var_resid, named.scale)  # documented
    with pytest.raises(DesignError, match=r"no column 'w', the weights of the fit.*Add it"):
        named.simulate(exog=light)


def test_rows_of_the_fit_may_be_weighted_by_name(named: MixedLMResults) -> None:
    assert_allclose(named.get_prediction(weights="w").var_resid, named.scale / data()["w"])
    assert_allclose(named.get_prediction(weights=4.0).var_resid, named.scale / 4.0)


def test_one_row_of_a_frame_has_its_weight(named: MixedLMResults) -> None:
    row = data().iloc[7]
    assert_allclose(named.get_prediction(row).var_resid, named.scale / row["w"])
    assert_allclose(named.get_prediction(row).predicted_mean, named.fittedvalues.iloc[7])


def test_arrays_match_labels_only_where_the_rows_have_some() -> None:
    frame = data()
    X = np.column_stack([np.ones(180), frame["Days"]])
    terms = [RandomTerm(frame["Subject"].to_numpy())]
    result = MixedLM(frame["Reaction"].to_numpy(), X, terms, weights=frame["w"].to_numpy()).fit()
    new = [RandomTerm(frame["Subject"].to_numpy()[:4])]
    labelled = pd.Series([1.0, 2.0, 3.0, 4.0], index=list("abcd"))
    got = result.get_prediction(X[:4], random=new, weights=labelled).var_resid
    assert_allclose(got, result.scale / labelled)
    assert_allclose(
        result.predict(X[:4], random=new, offset=labelled),
        result.predict(X[:4], random=new) + labelled.to_numpy(),
    )
    with pytest.raises(DesignError, match="weights has another index"):
        result.get_prediction(pd.DataFrame(X[:4]), random=new, weights=labelled)
    with pytest.raises(DesignError, match="offset has another index"):
        result.predict(pd.DataFrame(X[:4]), random=new, offset=labelled)
