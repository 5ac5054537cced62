"""Designs from formulas and arrays: matrices, level codes, rows, new data, pickling."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import patsy
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedlm_ext import datasets
from mixedlm_ext.design import (
    Design,
    RandomTerm,
    design_from_arrays,
    design_from_formula,
    needed_names,
)
from mixedlm_ext.design.grouping import combine_codes, level_codes, match_levels
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.errors import DesignWarning
from mixedlm_ext.language.parser import parse_formula


def design(formula: str, data: object, **arguments: object) -> Design:
    arguments.setdefault("env", {})
    return design_from_formula(parse_formula(formula), data, **arguments)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(20)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.normal(5.0, 1.0, n),
            "x": rng.normal(size=n),
            "count": rng.integers(1, 9, n),
            "f": np.resize(["a", "b", "c"], n),
            "flag": np.resize([True, True, False, False, True], n),
            "g": np.repeat(np.arange(10, 20), 6),
            "h": np.tile(np.arange(4), 15),
            "odd name": rng.normal(size=n),
            "my group": np.repeat(list("uvwxyz"), 10),
        },
        index=pd.Index([f"row{i}" for i in range(n)]),
    )


# --- formula -> matrices --------------------------------------------------------------------------


def test_sleepstudy(sleepstudy: pd.DataFrame) -> None:
    d = design("Reaction ~ Days + (Days | Subject)", sleepstudy)
    assert d.endog_name == "Reaction"
    assert d.x_names == ("Intercept", "Days")
    np.testing.assert_array_equal(d.y, sleepstudy["Reaction"])
    np.testing.assert_array_equal(d.X, np.column_stack([np.ones(180), sleepstudy["Days"]]))
    (term,) = d.terms
    assert (term.name, term.group, term.text) == ("Subject", "Subject", "(Days | Subject)")
    assert term.columns == ("Intercept", "Days")
    np.testing.assert_array_equal(term.X, d.X)
    assert term.codes.dtype == np.intp
    assert len(term.levels) == 18
    np.testing.assert_array_equal(
        term.levels[term.codes].astype(str), sleepstudy["Subject"].astype(str)
    )
    assert d.weights is None
    assert d.offset is None
    assert (d.n_missing, d.n_zero_weight, d.dropped) == (0, 0, ())
    assert d.fixed_info is not None
    assert d.fixed_info.term_names == ["Intercept", "Days"]


SIDES = [
    "1",
    "x",
    "0 + x",
    "x - 1",
    "x * f",
    "0 + f",
    "f:x + C(h)",
    "C(h, Sum) + C(f, Treatment('b'))",
    "center(x) + standardize(count)",
    "bs(x, df=4)",
    "0 + cr(count, df=3)",
    "flag + I(x**2)",
    "np.exp(x) + Q('odd name')",
    "f.str.upper() + x.clip(-1, 1)",
    "(f == 'a') + x",
    "f + C(f, Sum):x",
    "x:h + C(h)",
]


@pytest.mark.parametrize("side", SIDES)
def test_both_sides_agree_with_patsy(side: str, frame: pd.DataFrame) -> None:
    d = design(f"y ~ {side} + ({side} || g)", frame, env={"np": np}, allow_saturated=True)
    expected = patsy.dmatrix(side, frame)
    assert list(d.all_x_names) == expected.design_info.column_names
    np.testing.assert_allclose(d.X, np.asarray(expected)[:, d.column_map], rtol=1e-14)
    np.testing.assert_allclose(d.terms[0].X, expected, rtol=1e-14)
    assert list(d.terms[0].columns) == expected.design_info.column_names


@pytest.mark.parametrize("side", SIDES)
def test_new_data_gives_back_the_rows_of_the_fit(side: str, frame: pd.DataFrame) -> None:
    formula = f"log(y) ~ {side} + offset(x) + ({side} || g) + (1 | h:f)"
    d = design(formula, frame, env={"np": np}, allow_saturated=True)
    rows = [50, 3, 3, 20]
    for made in (d, pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        new = made.new_data(frame.iloc[rows], need_response=True)
        np.testing.assert_allclose(new.X, d.X[rows], rtol=1e-13, atol=1e-13)
        for term in d.terms:
            X, codes = new.terms[term.name]
            np.testing.assert_allclose(X, term.X[rows], rtol=1e-13, atol=1e-13)
            np.testing.assert_array_equal(codes, term.codes[rows])
        np.testing.assert_array_equal(new.offset, frame["x"].iloc[rows])
        np.testing.assert_array_equal(new.y, d.y[rows])
        assert new.complete.all()
        assert new.index.tolist() == ["row50", "row3", "row3", "row20"]


@pytest.mark.parametrize(
    ("response", "values"),
    [
        ("y", lambda f: f["y"]),
        ("log(y)", lambda f: np.log(f["y"])),
        ("np.log(y)", lambda f: np.log(f["y"])),
        ("y - 1500", lambda f: f["y"] - 1500),
        ("y + x", lambda f: f["y"] + f["x"]),
        ("Q('odd name')", lambda f: f["odd name"]),
        ("center(y)", lambda f: f["y"] - f["y"].mean()),
    ],
)
def test_response_is_a_python_expression(response, values, frame) -> None:
    d = design(f"{response} ~ x + (1 | g)", frame, env={"np": np})
    np.testing.assert_allclose(d.y, values(frame), rtol=1e-13)
    assert d.endog_name == response


def test_no_fixed_effects(frame: pd.DataFrame) -> None:
    d = design("y ~ 0 + (1 | g)", frame)
    assert d.X.shape == (60, 0)
    assert d.x_names == ()
    assert d.new_data(frame.head(2)).X.shape == (2, 0)


def test_terms_keep_the_order_of_the_formula_and_get_unique_names(frame: pd.DataFrame) -> None:
    d = design("y ~ x + (1 | h) + (1 | g) + (0 + x | g) + (0 + count | g)", frame)
    assert [t.name for t in d.terms] == ["h", "g", "g.1", "g.2"]
    assert [t.group for t in d.terms] == ["h", "g", "g", "g"]
    assert [t.columns for t in d.terms] == [("Intercept",), ("Intercept",), ("x",), ("count",)]


def test_odd_names_on_both_sides_of_a_bar(frame: pd.DataFrame) -> None:
    d = design("y ~ Q('odd name') + (Q('odd name') | Q('my group'))", frame)
    assert d.terms[0].columns == ("Intercept", "Q('odd name')")
    assert list(d.terms[0].levels) == list("uvwxyz")


def test_keyword_column() -> None:
    oats = datasets.oats.load_pandas().data.rename(columns={"Yield": "yield"})
    d = design("Q('yield') ~ nitro + (1 | Block/Variety)", oats)
    np.testing.assert_array_equal(d.y, oats["yield"])
    assert [t.name for t in d.terms] == ["Block", "Block:Variety"]
    assert len(d.terms[1].levels) == 18


def test_columns_win_over_scope_except_where_called(frame: pd.DataFrame) -> None:
    data = frame.rename(columns={"count": "log", "h": "C", "x": "z"})
    d = design("log(y) ~ z + C(f) + (1 | C)", data, env={"z": "not this"})
    np.testing.assert_allclose(d.y, np.log(data["y"]))
    assert d.x_names == ("Intercept", "C(f)[T.b]", "C(f)[T.c]", "z")
    assert list(d.terms[0].levels) == [0, 1, 2, 3]


def test_arrays_of_the_scope_run_along_the_data(frame: pd.DataFrame) -> None:
    twice = 2 * frame["x"].to_numpy()
    d = design("y ~ twice + (1 | g)", frame, env={"twice": twice}, subset=frame["x"] > 0)
    np.testing.assert_array_equal(d.X[:, 1], twice[twice > 0])
    assert "twice" in d.frame


def test_needed_names() -> None:
    formula = "np.log(y) ~ x * f.a + offset(z) + (center(w) | C(g):Q('my h'))"
    assert needed_names(parse_formula(formula)) == {
        *("np", "y", "x", "f", "z", "center", "w", "C", "g", "Q", "my h")
    }


# --- data of any kind -----------------------------------------------------------------------------


def test_pandas_polars_and_dict_agree(frame: pd.DataFrame) -> None:
    formula = "y ~ x + f + flag + (x | g) + (1 | f:h)"
    expected = design(formula, frame)
    dictionary = {name: frame[name].to_numpy() for name in frame}
    enum = pl.from_pandas(frame).with_columns(pl.col("f").cast(pl.Enum(["a", "b", "c"])))
    for data in (pl.from_pandas(frame), dictionary, enum, frame.to_records(index=False)):
        d = design(formula, data)
        assert d.x_names == expected.x_names
        np.testing.assert_array_equal(d.X, expected.X)
        assert [list(t.levels) for t in d.terms] == [list(t.levels) for t in expected.terms]
        np.testing.assert_array_equal(d.terms[1].codes, expected.terms[1].codes)
        assert d.index.equals(pd.RangeIndex(60))


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_nullable_types(backend: str, frame: pd.DataFrame) -> None:
    nullable = frame.convert_dtypes(dtype_backend=backend)
    formula = "y ~ x + count + f + flag + x:f + (x | g) + (1 | f)"
    expected = design(formula, frame)
    d = design(formula, nullable)
    assert d.x_names == expected.x_names
    np.testing.assert_array_equal(d.X, expected.X)
    for got, term in zip(d.terms, expected.terms, strict=True):
        np.testing.assert_array_equal(got.codes, term.codes)
        assert list(got.levels) == list(term.levels)
    holes = nullable.copy()
    holes.loc["row3", "x"] = pd.NA
    holes.loc["row5", "g"] = pd.NA
    holes.loc["row7", "f"] = pd.NA
    kept = frame.drop(index=["row3", "row5", "row7"])
    d = design(formula, holes)
    assert d.n_missing == 3
    np.testing.assert_array_equal(d.X, design(formula, kept).X)
    assert d.index.equals(kept.index)


def test_objects_that_hold_numbers_are_numbers(frame: pd.DataFrame) -> None:
    data = frame.assign(x=frame["x"].astype(object), flag=frame["flag"].astype(object))
    data.loc["row0", "x"] = None
    d = design("y ~ x + flag + (1 | g)", data)
    assert d.x_names == ("Intercept", "flag[T.True]", "x")
    np.testing.assert_array_equal(d.X[:, 2], frame["x"].iloc[1:])


def test_unused_categories_and_category_order(frame: pd.DataFrame) -> None:
    f = pd.Categorical(frame["f"], ["z", "c", "b", "a"])
    d = design("y ~ f + (1 | f) + (1 | f:h)", frame.assign(f=f))
    assert d.x_names == ("Intercept", "f[T.b]", "f[T.a]")
    assert list(d.terms[0].levels) == ["c", "b", "a"]
    assert list(d.terms[1].levels)[:2] == [("c", 0), ("c", 1)]
    d = design("y ~ x + (1 | C(f, levels=['b', 'a', 'c']))", frame)
    assert list(d.terms[0].levels) == ["b", "a", "c"]


def test_duplicate_index_stays(frame: pd.DataFrame) -> None:
    data = frame.set_axis(np.repeat(["a", "b"], 30))
    d = design("y ~ x + (1 | g)", data, subset=data["x"].to_numpy() > 0)
    assert d.index.equals(data.index[data["x"] > 0])
    np.testing.assert_array_equal(d.y, data["y"].to_numpy()[data["x"] > 0])


# --- rows -----------------------------------------------------------------------------------------


def test_missing_rows_are_dropped_before_stateful_transforms(frame: pd.DataFrame) -> None:
    data = frame.copy()
    data.loc[["row1", "row2"], "x"] = np.nan
    data.loc["row4", "f"] = None
    weights = np.ones(60)
    weights[9] = np.nan
    kept = data.drop(index="row9").dropna()
    formula = "y ~ center(x) + bs(count, df=4) + (standardize(x) | g) + (1 | f)"
    d, expected = design(formula, data, weights=weights), design(formula, kept)
    np.testing.assert_array_equal(d.X, expected.X)
    np.testing.assert_array_equal(d.terms[0].X, expected.terms[0].X)
    assert d.n_missing == 4
    assert d.index.equals(kept.index)
    np.testing.assert_array_equal(d.rows.positions, [i for i in range(60) if i not in (1, 2, 4, 9)])


def test_columns_not_in_the_formula_may_be_missing(frame: pd.DataFrame) -> None:
    assert design("y ~ x + (1 | g)", frame.assign(count=np.nan)).n_missing == 0


@pytest.mark.parametrize("kind", ["array", "list", "series", "shuffled", "labels", "slice"])
def test_subset(kind: str, frame: pd.DataFrame) -> None:
    mask = frame["x"] > -0.5
    subset = {
        "array": mask.to_numpy(),
        "list": mask.tolist(),
        "series": mask,
        "shuffled": mask.sample(frac=1.0, random_state=1),
        "labels": frame.index[mask],
        "slice": slice("row3", "row40"),
    }[kind]
    chosen = frame.loc["row3":"row40"] if kind == "slice" else frame[mask]
    d = design("y ~ x + (1 | g)", frame, subset=subset, weights=np.arange(1.0, 61.0))
    assert d.index.equals(chosen.index)
    np.testing.assert_array_equal(d.y, chosen["y"])
    np.testing.assert_array_equal(d.weights, d.rows.positions + 1.0)


def test_weights_and_offset(frame: pd.DataFrame) -> None:
    d = design(
        "y ~ x + offset(x) + offset(2 * count) + (1 | g)", frame, weights="count", offset="odd name"
    )
    np.testing.assert_array_equal(d.weights, frame["count"])
    np.testing.assert_allclose(d.offset, frame["x"] + 2 * frame["count"] + frame["odd name"])
    assert (d.spec.weights.column, d.spec.offset.column) == ("count", "odd name")
    new = d.new_data(frame.head(3))
    np.testing.assert_allclose(new.offset, d.offset[:3])
    new = d.new_data(frame.head(3), offset=[0.0, 1.0, 2.0])
    np.testing.assert_allclose(new.offset - [0, 1, 2], (frame["x"] + 2 * frame["count"]).head(3))


def test_zero_weights_leave_rows_out(frame: pd.DataFrame) -> None:
    weights = np.ones(60)
    weights[[0, 7]] = 0.0
    with pytest.warns(DesignWarning, match="2 of 60 rows have zero weight"):
        d = design("y ~ center(x) + (1 | g)", frame, weights=weights)
    expected = design("y ~ center(x) + (1 | g)", frame.drop(index=["row0", "row7"]))
    np.testing.assert_array_equal(d.X, expected.X)
    assert d.n_zero_weight == 2
    assert d.index.equals(expected.index)


# --- rank -----------------------------------------------------------------------------------------


def test_rank_deficiency_keeps_the_leftmost_columns(frame: pd.DataFrame) -> None:
    data = frame.assign(twice=2 * frame["x"], zero=0.0)
    with pytest.warns(DesignWarning, match="columns before: 'twice', 'zero'.$"):
        d = design("y ~ x + twice + zero + count + (1 | g)", data)
    assert d.x_names == ("Intercept", "x", "count")
    assert d.dropped == ("twice", "zero")
    np.testing.assert_array_equal(d.column_map, [0, 1, 4])
    np.testing.assert_array_equal(d.new_data(data.head(4)).X, d.X[:4])


def test_empty_cell_of_a_crossed_design(frame: pd.DataFrame) -> None:
    data = frame[~((frame["f"] == "b") & (frame["h"] == 2))]
    with pytest.warns(DesignWarning, match=r"columns before: 'f\[T.b\]:C\(h\)\[T.2\]'"):
        d = design("y ~ f * C(h) + (1 | g)", data)
    assert np.linalg.matrix_rank(d.X) == d.X.shape[1] == 11


@pytest.mark.parametrize("scale", [1e-160, 1e-9, 1.0, 1e9, 1e160])
def test_units_do_not_matter_for_rank(scale: float) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(30, 3))
    X = np.column_stack([X, X @ [1.0, -2.0, 0.5], rng.normal(size=30)])
    kept = independent_columns(X * [1.0, scale, 1.0, scale, 1.0])
    assert list(kept) == [0, 1, 2, 4]


def test_powers_of_a_calendar_year_are_estimable() -> None:
    year = np.resize(np.arange(2000.0, 2021.0), 210)
    X = np.column_stack([np.ones(210), year, year**2, year**3])
    assert list(independent_columns(X)) == [0, 1, 2, 3]
    assert list(independent_columns(np.column_stack([X[:, :3], 3 * year - 7]))) == [0, 1, 2]


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_independent_columns_span_the_matrix(seed: int, rank: int, extra: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, (25, rank)) @ rng.integers(-2, 3, (rank, rank + extra))
    X = X * 10.0 ** rng.integers(-8, 9, rank + extra)
    kept = independent_columns(X, rng.uniform(0.1, 10.0, 25))
    unit = X / np.where((norm := np.linalg.norm(X, axis=0)) > 0, norm, 1.0)
    assert len(kept) == np.linalg.matrix_rank(unit, tol=1e-9)
    if len(kept):
        assert np.linalg.matrix_rank(unit[:, kept], tol=1e-9) == len(kept)


def test_drop_cols(frame: pd.DataFrame) -> None:
    d = design("y ~ x + count + (1 | g)", frame, drop_cols=["x"])
    assert d.x_names == ("Intercept", "count")
    assert d.dropped == ()
    np.testing.assert_array_equal(d.new_data(frame.head()).X, d.X[:5])


# --- level codes ----------------------------------------------------------------------------------

labels = st.lists(st.integers(-5, 5), min_size=1, max_size=40)


@given(labels, st.permutations(list("abcdefghijk")))
def test_codes_do_not_depend_on_the_labels(values: list[int], names: list[str]) -> None:
    codes, levels = level_codes(np.array(values))
    assert list(levels) == sorted(set(values))
    assert [levels[code] for code in codes] == values
    texts = [names[value + 5] for value in values]
    for made in (
        texts,
        np.array(texts),
        pd.Series(texts),
        pd.Series(texts, dtype="string"),
        pd.Series(texts, dtype=object),
        pd.Categorical(texts),
        pd.Series(values, dtype="Int64"),
        np.array(values, dtype=float),
        np.array(values, dtype=np.int8),
        np.array(values) * 2**55,
        pd.Timestamp("2020-01-01") + pd.to_timedelta(values, "D"),
    ):
        other, other_levels = level_codes(made)
        assert other.dtype == np.intp
        assert len(other_levels) == len(levels)
        assert len(set(zip(codes.tolist(), other.tolist(), strict=True))) == len(levels)
        assert list(other_levels[other]) == list(made)
        np.testing.assert_array_equal(match_levels([made], other_levels), other)


@given(labels, st.randoms(use_true_random=False))
def test_codes_follow_the_rows(values: list[int], random) -> None:
    order = list(range(len(values)))
    random.shuffle(order)
    codes, levels = level_codes(values)
    shuffled, same = level_codes([values[i] for i in order])
    np.testing.assert_array_equal(shuffled, codes[order])
    assert same.equals(levels)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.booleans()), min_size=1))
def test_interactions_are_the_observed_tuples(rows: list[tuple[int, str, bool]]) -> None:
    values = [list(column) for column in zip(*rows, strict=True)]
    codes, levels = combine_codes([level_codes(column) for column in values])
    assert list(levels) == sorted(set(rows))
    assert [levels[code] for code in codes] == rows
    np.testing.assert_array_equal(match_levels(values, levels), codes)


def test_interaction_of_very_many_levels() -> None:
    rng = np.random.default_rng(3)
    columns = [rng.integers(0, 2**62, 500) for _ in range(8)]
    codes, levels = combine_codes([level_codes(column) for column in columns])
    assert len(levels) == 500
    assert list(levels) == sorted(levels)
    np.testing.assert_array_equal(match_levels(columns, levels), codes)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, "1", 2, "a"], [1, 2, "1", "a"]),
        ([("b", 1), ("a", 2), ("b", 1)], [("a", 2), ("b", 1)]),
        ([True, False], [False, True]),
        ([2.5, np.nan, -1.0], [-1.0, 2.5]),
        ([b"y", b"x"], [b"x", b"y"]),
    ],
)
def test_levels_of_unusual_types(values: list, expected: list) -> None:
    series = pd.Series(values, dtype=object)
    codes, levels = level_codes(series)
    assert list(levels) == expected
    for value, code in zip(values, codes, strict=True):
        assert code == -1 if value != value else levels[code] == value


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint64, np.int64])
def test_extreme_integers(dtype: type) -> None:
    info = np.iinfo(dtype)
    values = np.array([info.max, info.min, info.min, info.max - 1], dtype=dtype)
    codes, levels = level_codes(values)
    np.testing.assert_array_equal(codes, [2, 0, 0, 1])
    np.testing.assert_array_equal(levels.to_numpy()[codes], values)


def test_pairs_are_never_glued() -> None:
    a, b = ["a:b", "a", "a:b", "a"], ["c", "b:c", "c", "b:c"]
    _, levels = combine_codes([level_codes(a, "a"), level_codes(b, "b")])
    assert list(levels) == [("a", "b:c"), ("a:b", "c")]
    assert levels.names == ["a", "b"]


def test_new_levels_have_no_code() -> None:
    categories = pd.Categorical(["b", "new"])
    np.testing.assert_array_equal(match_levels([categories], pd.Index(["a", "b"])), [1, -1])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.5, 1.0, 2.0, None]),
            st.sampled_from(["p", "q", "r", None]),
            st.sampled_from([1, 2, 3, None]),
        ),
        min_size=6,
        max_size=40,
    )
)
@settings(deadline=None)
def test_missing_rows_as_dropna(rows: list[tuple]) -> None:
    fixed = [(0.1, "p", 1), (0.2, "q", 2), (0.7, "p", 2), (0.9, "q", 1), (0.4, "p", 1)] * 2
    data = pd.DataFrame(fixed + rows, columns=["x", "f", "g"])
    data["y"] = np.arange(len(data)) ** 1.5
    kept = data.dropna()
    d = design("y ~ center(x) + f + (x || g) + (1 | f:g)", data)
    expected = design("y ~ center(x) + f + (x || g) + (1 | f:g)", kept)
    np.testing.assert_array_equal(d.X, expected.X)
    assert d.x_names == expected.x_names
    assert d.index.equals(kept.index)
    for term, other in zip(d.terms, expected.terms, strict=True):
        np.testing.assert_array_equal(term.codes, other.codes)
        assert list(term.levels) == list(other.levels)


# --- new data -------------------------------------------------------------------------------------


def test_new_data_needs_only_what_is_asked_for(frame: pd.DataFrame) -> None:
    d = design("y ~ x + (count | g) + (1 | f:h)", frame)
    new = d.new_data({"x": [1.0, 2.0]}, terms=())
    assert new.terms == {}
    np.testing.assert_array_equal(new.X, [[1.0, 1.0], [1.0, 2.0]])
    new = d.new_data({"x": [1.0], "f": ["b"], "h": [3]}, terms=["f:h"])
    assert d.terms[1].levels[new.terms["f:h"][1][0]] == ("b", 3)


def test_unseen_and_missing_groups(frame: pd.DataFrame) -> None:
    d = design("y ~ x + (1 | g) + (1 | f:h)", frame)
    new = d.new_data(
        {
            "x": [0.0, 0.0, 0.0, np.nan],
            "g": [10.0, 99.0, np.nan, 11.0],
            "f": ["a", "new", "b", "a"],
            "h": [0, 1, 2, 3],
        }
    )
    np.testing.assert_array_equal(new.terms["g"][1], [0, -1, -1, -1])
    np.testing.assert_array_equal(new.terms["f:h"][1], [0, -1, -1, -1])
    np.testing.assert_array_equal(new.complete, [True, True, False, False])
    np.testing.assert_array_equal(np.isnan(new.X).any(axis=1), [False, False, True, True])


def test_undefined_values_in_new_data_are_incomplete(frame: pd.DataFrame) -> None:
    d = design("y ~ log(count) + (1 | g)", frame)
    new = d.new_data({"count": [1, 0, -1, 3], "g": [10, 10, 10, 10]})
    np.testing.assert_array_equal(new.complete, [True, False, False, True])
    np.testing.assert_array_equal(np.isnan(new.X[:, 1]), [False, True, True, False])


def test_no_rows_and_no_complete_rows(frame: pd.DataFrame) -> None:
    d = design("y ~ center(x) + f + offset(count) + (x | g)", frame)
    assert d.new_data(frame.iloc[:0]).X.shape == (0, 4)
    new = d.new_data(frame.head(2).assign(x=np.nan), need_response=True)
    assert np.isnan(new.X).all()
    assert np.isnan(new.y).all()
    assert not new.complete.any()


def test_other_types_of_the_same_values(frame: pd.DataFrame) -> None:
    d = design("y ~ count + f + flag + (1 | g)", frame)
    head = frame.head(4)
    new = head.assign(
        f=pd.Categorical(head["f"], ["c", "a", "b"]),
        flag=head["flag"].astype(int),
        count=head["count"].astype("Int64"),
        g=head["g"].astype(float),
    )
    np.testing.assert_array_equal(d.new_data(new).X, d.X[:4])
    np.testing.assert_array_equal(d.new_data(pl.from_pandas(head)).X, d.X[:4])
    np.testing.assert_array_equal(d.new_data(new).terms["g"][1], d.terms[0].codes[:4])


# --- pickling -------------------------------------------------------------------------------------


def a_function_of_a_module(x):
    return 2 * x


def test_scope_is_pickled_by_reference(frame: pd.DataFrame) -> None:
    env = {"np": np, "twice": a_function_of_a_module, "knots": [3, 5], "unused": lambda: 0}
    d = design("np.log(y) ~ twice(x) + bs(count, knots=knots) + (1 | g)", frame, env=env)
    assert set(d.scope.values) == {"np", "twice", "knots"}
    again = pickle.loads(pickle.dumps(d))
    assert again.scope.values["np"] is np
    np.testing.assert_array_equal(again.new_data(frame).X, d.X)
    assert again.fixed_info.column_names == d.fixed_info.column_names


@pytest.mark.parametrize("side", ["x + f + C(h)", "center(x) + bs(count, df=4)", "1", "f:flag"])
def test_without_rows(side: str, frame: pd.DataFrame) -> None:
    d = design(f"y ~ {side} + (x | g) + (1 | f:h)", frame)
    light = d.without_rows()
    assert light.y.shape == (0,)
    assert light.X.shape == (0, d.X.shape[1])
    if "(" not in side.replace("C(", ""):
        assert len(light.frame) < 15
    for made in (light, pickle.loads(pickle.dumps(light))):
        new = made.new_data(frame.tail(9))
        np.testing.assert_array_equal(new.X, d.X[-9:])
        np.testing.assert_array_equal(new.terms["f:h"][1], d.terms[1].codes[-9:])


# --- arrays ---------------------------------------------------------------------------------------


def test_arrays_agree_with_the_formula(frame: pd.DataFrame) -> None:
    expected = design("y ~ x + (x | g) + (1 | f:h)", frame)
    X = np.column_stack([np.ones(60), frame["x"]])
    d = design_from_arrays(
        frame["y"].to_numpy(),
        X,
        [
            RandomTerm(frame["g"].to_numpy(), X, name="g"),
            RandomTerm((frame["f"], frame["h"])),
        ],
        offset=np.ones(60),
    )
    assert d.endog_name == "y"
    assert d.x_names == ("const", "x1")
    assert [t.name for t in d.terms] == ["g", "f:h"]
    assert d.terms[0].columns == ("Intercept", "x1")
    assert d.terms[0].text == "(1 + x1 | g)"
    for term, other in zip(d.terms, expected.terms, strict=True):
        np.testing.assert_array_equal(term.X, other.X)
        np.testing.assert_array_equal(term.codes, other.codes)
        assert list(term.levels) == list(other.levels)
    assert d.formula is None
    assert d.fixed_info is None
    again = pickle.loads(pickle.dumps(d))
    np.testing.assert_array_equal(again.X, d.X)


def test_arrays_take_the_names_and_index_of_pandas(frame: pd.DataFrame) -> None:
    d = design_from_arrays(
        frame["y"],
        frame[["x", "count"]],
        [RandomTerm(frame["g"], frame["x"]), RandomTerm(frame[["f", "h"]], structure="diag")],
    )
    assert (d.endog_name, d.x_names) == ("y", ("x", "count"))
    assert [(t.name, t.columns) for t in d.terms] == [("g", ("x",)), ("f:h", ("Intercept",))]
    assert d.terms[1].structure == "diag"
    assert d.index.equals(frame.index)


def test_arrays_drop_missing_rows(frame: pd.DataFrame) -> None:
    x = frame["x"].mask(frame["x"] > 1.0)
    g = frame["g"].astype(float).mask(frame["count"] == 3)
    d = design_from_arrays(frame["y"], x, [RandomTerm(g)], missing="drop")
    kept = x.notna() & g.notna()
    assert d.n_missing == (~kept).sum()
    assert d.index.equals(frame.index[kept])
    np.testing.assert_array_equal(d.X[:, 0], x[kept])
    np.testing.assert_array_equal(d.rows.positions, np.flatnonzero(kept))


def test_new_arrays(frame: pd.DataFrame) -> None:
    exog = frame[["x", "count"]].assign(twice=2 * frame["x"])
    with pytest.warns(DesignWarning, match="'twice'"):
        d = design_from_arrays(
            frame["y"], exog, [RandomTerm(frame["g"], frame["x"]), RandomTerm(frame["h"])]
        )
    new = d.new_arrays(
        exog.head(3)[["twice", "count", "x"]],
        [RandomTerm([10, 99, 11], [1.0, 2.0, 3.0]), RandomTerm([0, 1, None])],
    )
    np.testing.assert_array_equal(new.X[:2], d.X[:2])
    np.testing.assert_array_equal(new.terms["g"][1], [0, -1, 1])
    np.testing.assert_array_equal(new.terms["g"][0].ravel(), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(new.terms["h"][1], [0, 1, -1])
    np.testing.assert_array_equal(new.complete, [True, True, False])
    new = d.new_arrays(exog.head(3), {"h": RandomTerm([3, 3, 3])})
    assert list(new.terms) == ["h"]
    assert d.new_arrays(exog.head(3)).terms == {}


def test_no_exog(frame: pd.DataFrame) -> None:
    d = design_from_arrays(frame["y"], None, RandomTerm(frame["g"]))
    assert d.X.shape == (60, 0)
    new = d.new_arrays(None, [RandomTerm([10, 11])])
    assert new.X.shape == (2, 0)
    np.testing.assert_array_equal(new.terms["g"][1], [0, 1])
