"""Bad data get an error that names the user's own things, before any fitting."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mixedlm_ext.design import (
    Design,
    RandomTerm,
    design_from_arrays,
    design_from_formula,
)
from mixedlm_ext.errors import DesignError, DesignWarning, FormulaError, MixedLMError
from mixedlm_ext.language.parser import parse_formula

N = 40
RNG = np.random.default_rng(4)
DATA = pd.DataFrame(
    {
        "y": RNG.normal(5.0, 1.0, N),
        "x": RNG.normal(size=N),
        "z": np.arange(N) % 7 + 1.0,
        "f": np.resize(list("abcd"), N),
        "flag": np.resize([True, True, False, True, False], N),
        "Subject": np.arange(N) // 4,
        "h": np.arange(N) % 5,
        "one": 1,
        "uid": np.arange(N),
        "wave": RNG.normal(size=N) + 1j,
        "odd.name": RNG.normal(size=N),
    },
    index=pd.Index([f"r{i}" for i in range(N)]),
)
X = DATA["x"]
G = RandomTerm(DATA["Subject"])


def design(formula: str, data: Any = DATA, **arguments: Any) -> Design:
    arguments.setdefault("env", {})
    return design_from_formula(parse_formula(formula), data, **arguments)


def refused(message: str, kind: type[Exception] = DesignError) -> Any:
    return pytest.raises(kind, match=re.escape(message))


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (
            "y ~ x + (1 | Subjct)",
            "grouping factor 'Subjct' of the random term (1 | Subjct) is not in the data. "
            "Did you mean 'Subject'?",
        ),
        (
            "y ~ x + (1 | h:Subj)",
            "grouping factor 'Subj' of the random term (1 | h:Subj) is not in the data. "
            "Did you mean 'Subject'?",
        ),
        ("y ~ xx + (1 | h)", "'xx' in the fixed part is neither a column of the data nor"),
        ("y ~ log(xx) + (1 | h)", "'xx' in the fixed part is neither"),
        ("y ~ x + (xx | h)", "'xx' in the random term (xx | h) is neither"),
        ("yy ~ x + (1 | h)", "'yy' in the response is neither"),
        ("y ~ x + offset(zz) + (1 | h)", "'zz' in offset(zz) is neither"),
        ("y ~ Q('xx yy') + (1 | h)", "'xx yy' in the fixed part is neither"),
        ("y ~ np.log(z) + (1 | h)", "'np' in the fixed part is neither"),
        ("y ~ f1(z) + (1 | h)", "'f1' in the fixed part is neither"),
    ],
)
def test_unknown_names(formula: str, message: str) -> None:
    with refused(message):
        design(formula)


def test_unknown_name_without_a_near_one_lists_the_columns() -> None:
    with refused("The data have the columns 'y', 'x', 'z', 'f'"):
        design("y ~ quite_another + (1 | h)")


def test_dotted_name_says_to_quote_it() -> None:
    with refused("Write Q('odd.name') in its place.", FormulaError) as caught:
        design("y ~ odd.name + (1 | h)")
    assert "^^^^^^^^" in str(caught.value)


def test_columns_that_are_given_by_name() -> None:
    with refused("weights column 'zz' is not in the data. Did you mean 'z'?"):
        design("y ~ x + (1 | h)", weights="zz")
    with refused("offset column 'zz' is not in the data. Did you mean 'z'?"):
        design("y ~ x + (1 | h)", offset="zz")
    with refused("drop_cols has 'xx', not a column of the fixed part ('Intercept', 'x')"):
        design("y ~ x + (1 | h)", drop_cols=["xx"])


# --- expressions ----------------------------------------------------------------------------------


def broken(x: Any) -> Any:
    raise RuntimeError("no luck")


@pytest.mark.parametrize(
    ("formula", "message", "place"),
    [
        ("y ~ broken(x) + (1 | h)", "cannot evaluate 'broken(x)' in the fixed part", "broken(x)"),
        ("y ~ x + (broken(x) | h)", "in the random term (broken(x) | h): Runtime", "broken(x)"),
        ("y ~ x + (1 | broken(h))", "cannot evaluate 'broken(h)' in the random", "broken(h)"),
        ("broken(y) ~ x + (1 | h)", "cannot evaluate 'broken(y)' in the response", "broken(y)"),
        ("y ~ x + offset(broken(z)) + (1 | h)", "in offset(broken(z))", "broken(z)"),
        ("y ~ x + I(1) + (1 | h)", "is a single value (1); it needs one for each row", "I(1)"),
        ("y ~ x + I(f - 1) + (1 | h)", "'I(f - 1)' in the fixed part cannot be", "I(f - 1)"),
        ("y ~ x + [v for v in z] + (1 | h)", "a lambda or a comprehension", "[v for v in z]"),
    ],
)
def test_expressions_that_fail(formula: str, message: str, place: str) -> None:
    with refused(message, FormulaError) as caught:
        design(formula, env={"broken": broken})
    start, stop = caught.value.span
    assert formula[start:stop] == place


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ log(x) + (1 | h)", "'log(x)' in the fixed part is not finite: nan at row 'r"),
        ("y ~ x + (log(uid) | h)", "'log(uid)' in the random term (log(uid) | h) is not finite: -"),
        ("log(y - 100) ~ x + (1 | h)", "response 'log(y - 100)' is not finite: nan at row 'r0'"),
        ("y ~ x + offset(log(uid)) + (1 | h)", "offset(log(uid)) is not finite: -inf at row 'r0'"),
    ],
)
def test_undefined_values_name_the_expression(formula: str, message: str) -> None:
    with refused(message):
        design(formula)


def test_group_undefined_in_a_row() -> None:
    with refused("grouping factor 'pd.cut(z, [0, 3, 6])' is undefined (missing) at row 'r6'"):
        design("y ~ x + (1 | pd.cut(z, [0, 3, 6]))", env={"pd": pd})
    with refused("grouping factor 'C(h, levels=[0, 1])' has the level 2, not in its levels="):
        design("y ~ x + (1 | C(h, levels=[0, 1]))")


# --- response and covariates ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (list("abcd") * 10, "response 'y' is not numeric (it holds 'a')"),
        (pd.Categorical([1, 2] * 20), "response 'y' is not numeric"),
        (pd.date_range("2020", periods=N), "response 'y' is not numeric"),
        ([True, False] * 20, "response 'y' is boolean"),
        (pd.Series([True, False] * 20, dtype=object).to_numpy(), "response 'y' is boolean"),
        (pd.array([True, False] * 20, dtype="boolean"), "response 'y' is boolean"),
        (np.arange(N) + 1j, "response 'y' is complex"),
        ([np.nan] * N, "response 'y' has only missing values"),
        ([None] * N, "response 'y' has only missing values"),
        ([np.inf, 2.0] * 20, "response 'y' is not finite: inf at row 'r0' and 19 more"),
        ([2.5] * N, "response 'y' is constant (2.5)"),
        ([1, "2"] * 20, "response 'y' is not numeric"),
    ],
)
def test_responses(values: Any, message: str) -> None:
    with refused(message):
        design("y ~ x + (1 | h)", DATA.assign(y=values))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("np.column_stack([y, z]) ~ x + (1 | h)", "has 2 dimensions (40 x 2); it needs"),
        ("1 ~ x + (1 | h)", "response '1' is a single value (1)"),
        ("C(f) ~ x + (1 | h)", "response 'C(f)' is not numeric"),
        ("y[:5] ~ x + (1 | h)", "response 'y[:5]' has 5 values; the data have 40 rows"),
        ("y ~ x + offset(y) + (1 | h)", "response 'y' minus the offset is constant (0)"),
        ("y ~ x + offset(f) + (1 | h)", "offset(f) is not numeric"),
        ("y ~ x + offset(2) + (1 | h)", "offset(2) is a single value (2)"),
        ("y ~ wave + (1 | h)", "column 'wave' in the fixed part is complex"),
        ("y ~ x + (wave | h)", "column 'wave' in the random term (wave | h) is complex"),
        ("y ~ I(2 * wave) + (1 | h)", "'I(2 * wave)' in the fixed part is complex"),
    ],
)
def test_shapes_and_types(formula: str, message: str) -> None:
    with refused(message, MixedLMError):
        design(formula, env={"np": np})


def test_infinite_covariate_names_column_and_row() -> None:
    data = DATA.copy()
    data.loc["r3", "x"] = np.inf
    with refused("'x' in the fixed part is not finite: inf at row 'r3'"):
        design("y ~ x + (1 | h)", data)
    with refused("'x' in the random term (x | h) is not finite: inf at row 'r3'"):
        design("y ~ z + (x | h)", data)


def test_saturated_fixed_part() -> None:
    data = DATA.head(4).assign(h=[1, 1, 2, 2])
    with refused("the fixed part has 4 estimable columns for 4 observations"):
        design("y ~ f + (1 | h)", data)


# --- random terms ---------------------------------------------------------------------------------


def test_as_many_levels_as_observations() -> None:
    with pytest.raises(DesignError) as caught:
        design("y ~ x + (1 | uid)")
    assert str(caught.value) == (
        "grouping factor 'uid' has 40 levels for 40 observations; "
        "a random intercept needs repeated levels.\n"
        "Use a coarser factor or drop (1 | uid). With known variances, as in a meta-analysis, pass "
        "weights=1/variance and fit(sigma=1)."
    )
    assert len(design("y ~ x + (1 | uid)", allow_saturated=True).terms[0].levels) == N


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ x + (1 | one)", "grouping factor 'one' has only one level (1)"),
        (
            "y ~ x + (x + z + uid | Subject)",
            "(x + z + uid | Subject) has 40 random effects (4 for each of 10 levels) for 40 obs",
        ),
        ("y ~ x + (one | h)", "random slope 'one' of (one | h) is constant (1) in the data. Drop"),
        ("y ~ x + (0 + one | h)", "is constant (1) in the data. A random intercept is (1 | h)."),
        (
            "y ~ x + (x + I(2 * x) | h)",
            "random slope 'I(2 * x)' of (x + I(2 * x) | h) is a combination of the columns "
            "before it ('Intercept', 'x')",
        ),
        ("y ~ x + (x + I(2 * x) || h)", "is a combination of the columns before it ('x')"),
        ("y ~ x + (1 | [h, f])", "grouping factor '[h, f]' has 2 dimensions"),
        ("y ~ x + (1 | h[:3])", "grouping factor 'h[:3]' has 3 values; the data have 40 rows"),
    ],
)
def test_random_terms(formula: str, message: str) -> None:
    with refused(message):
        design(formula)


def test_diagonal_terms_count_effects_column_by_column() -> None:
    data = DATA.iloc[np.arange(N) % 4 < 2]
    assert design("y ~ x + (x || Subject)", data).terms[0].structure == "diag"
    with refused("(x | Subject) has 20 random effects"):
        design("y ~ x + (x | Subject)", data)


@pytest.mark.parametrize(
    ("formula", "name", "place", "advice"),
    [
        ("y ~ x + (1 | h) + (x | h)", "Intercept", "(x | h)", "Write (0 + x | h)."),
        ("y ~ (x + z | h) + (1 | h)", "Intercept", "(1 | h)", "Remove 'Intercept' from (1 | h)"),
        ("y ~ (x || h) + (0 + x | h)", "x", "(0 + x | h)", "Remove 'x' from"),
        ("y ~ (1 | h:f) + (x || f:h)", "Intercept", "(x || f:h)", "Write (0 + x | f:h)."),
    ],
)
def test_repeated_columns(formula: str, name: str, place: str, advice: str) -> None:
    with refused(f"{name!r} is in two random terms of", FormulaError) as caught:
        design(formula)
    start, stop = caught.value.span
    assert formula[start:stop] == place
    assert advice in str(caught.value)


# --- rows -----------------------------------------------------------------------------------------


def test_missing_values_refused() -> None:
    data = DATA.copy()
    data.loc[["r3", "r5"], "x"] = np.nan
    data.loc["r7", "f"] = None
    for missing in ("raise", "none"):
        with refused("3 of 40 rows have missing values ('x': 2, 'f': 1). Use missing='drop'"):
            design("y ~ x + (1 | f)", data, missing=missing)
    with refused("missing='dorp' is not known. Did you mean 'drop'? Use one of"):
        design("y ~ x + (1 | f)", data, missing="dorp")


def test_nothing_left() -> None:
    data = DATA.assign(x=[np.nan, 1.0] * 20, z=[1.0, np.nan] * 20)
    with refused("no row is left: all 40 have missing values ('x': 20, 'z': 20)"):
        design("y ~ x + z + (1 | h)", data)
    with refused("the data have no rows"):
        design("y ~ x + (1 | h)", DATA.head(0))
    with refused("the data have no columns"):
        design("y ~ x + (1 | h)", {})
    with refused("subset takes no rows"):
        design("y ~ x + (1 | h)", subset=DATA["x"] > 100)


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ([True] * 3, "subset has 3 values; the data have 40 rows"),
        (["r1", "nowhere"], "subset has the label 'nowhere', not in the data's index"),
        (pd.Series([True] * N), "subset is a Series whose index is not that of the data"),
        (pd.array([True, None] * 20, dtype="boolean"), "subset has missing values"),
    ],
)
def test_subsets(subset: Any, message: str) -> None:
    with refused(message):
        design("y ~ x + (1 | h)", subset=subset)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), "weights has 3 values; the data have 40 rows"),
        (2.0, "weights is a single value (2.0); it needs one value for each row"),
        (np.ones((N, 2)), "weights has 2 dimensions (40 x 2)"),
        (np.where(np.arange(N) == 6, -1.0, 1.0), "weights has a negative value: -1 at row 'r6'"),
        (np.where(np.arange(N) == 6, np.inf, 1.0), "weights is not finite: inf at row 'r6'"),
        (np.zeros(N), "weights: all values are zero"),
        (list("abcd") * 10, "weights is not numeric (it holds 'a')"),
        ("f", "weights 'f' is not numeric"),
        (pd.Series(np.ones(N)), "weights has another index than the data"),
    ],
)
def test_weights(weights: Any, message: str) -> None:
    with refused(message):
        design("y ~ x + (1 | h)", weights=weights)


def test_offset_of_another_length() -> None:
    with refused("offset has 3 values; the data have 40 rows"):
        design("y ~ x + (1 | h)", offset=np.ones(3))


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "data is a NoneType; pass a pandas or polars DataFrame, or a dict of arrays"),
        (np.ones((4, 3)), "data is a ndarray; pass"),
        ([1, 2], "data is a list; pass"),
        (DATA["y"], "data is a Series; pass"),
        (pl.DataFrame({"y": [1.0]}).lazy(), "Call .collect() first"),
        ({"y": 1.0, "x": 2.0, "h": 3}, "the data are single values. Write lists"),
        ({"y": [1.0, 2.0], "x": [1.0], "h": [1, 2]}, "column 'x' has 1 values; the data have 2"),
        ({"y": [1.0], "x": np.ones((1, 2)), "h": [1]}, "column 'x' has 2 dimensions (1 x 2)"),
        (pd.concat([DATA, DATA[["x"]]], axis=1), "the data have several columns named 'x'"),
        (
            {"y": DATA["y"], "x": DATA["x"].to_numpy(), "h": DATA["h"].reset_index(drop=True)},
            "column 'h' has another index than the rest of the data",
        ),
    ],
)
def test_data(data: Any, message: str) -> None:
    with refused(message):
        design("y ~ x + (1 | h)", data)


def test_unhashable_groups() -> None:
    data = DATA.assign(h=pd.Series([[1], [2]] * 20, index=DATA.index))
    with refused("grouping factor 'h' has values that cannot be hashed"):
        design("y ~ x + (1 | h)", data)


# --- new data -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop(columns="x"), "the new data have no column 'x', which the fixed part n"),
        (lambda d: d.rename(columns={"x": "xx"}), "Did you mean 'xx'?"),
        (lambda d: d.drop(columns="h"), "no column 'h', which the random term (x | h) needs"),
        (lambda d: d.drop(columns="z"), "no column 'z', the offset of the fit"),
        (
            lambda d: d.assign(x=d["x"].astype(str)),
            "column 'x' is not numeric in the new data (it holds '",
        ),
        (
            lambda d: d.assign(f=["a", "new", "b"]),
            "column 'f' has the level 'new' in the new data (row 'r1'), which the fit has not seen "
            "(it has 'a', 'b', 'c', 'd')",
        ),
        (lambda d: d.assign(f=pd.Categorical(["new", "a", "b"])), "the level 'new' in the new d"),
        (lambda d: d.assign(f=[1, 2, 3]), "column 'f' has the level 1 in the new data"),
        (lambda d: d.assign(uid=[0, 77, 1]), "column 'uid' has the level 77 in the new data"),
        (
            lambda d: d.assign(flag=["x", "y", "z"]),
            "column 'flag' is not True or False in the new data",
        ),
        (lambda d: d.assign(flag=[0, 1, 2]), "(it holds 2); it was bool in the fit"),
        (lambda d: None, "data is a NoneType"),
    ],
)
def test_new_data(change: Any, message: str) -> None:
    data = DATA.assign(uid=DATA["uid"] % 3)
    d = design("y ~ x + f + flag + C(uid) + (x | h)", data, offset="z")
    with refused(message):
        d.new_data(change(data.head(3)))


def test_new_data_with_an_unknown_term() -> None:
    with refused("no random term 'H' (there are 'h')"):
        design("y ~ x + (x | h)").new_data(DATA, terms=["H"])
    with refused("exog has 3 columns; the fit had 1"):
        design_from_arrays(DATA["y"], X, G).new_arrays(np.ones((2, 3)))


def test_lambda_is_lost_by_pickling_only() -> None:
    d = design("y ~ twice(x) + (1 | h)", env={"twice": lambda x: 2 * x})
    np.testing.assert_array_equal(copy.deepcopy(d).new_data(DATA).X, d.X)
    again = pickle.loads(pickle.dumps(d))
    np.testing.assert_array_equal(again.X, d.X)
    with refused("the formula uses 'twice', which could not be pickled"):
        again.new_data(DATA)


# --- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((DATA[["x", "z"]], X, [G]), "endog has shape (40, 2); it needs one value a row"),
        ((3.0, X, [G]), "endog is a float; it needs one value a row"),
        ((DATA["f"], X, [G]), "response 'f' is not numeric"),
        ((DATA["y"], X[:5], [G]), "exog 'x' has 5 values; endog has 40"),
        ((DATA["y"], DATA[["f"]], [G]), "exog column 'f' is not numeric"),
        ((DATA["y"], np.ones((N, 2, 2)), [G]), "exog has 3 dimensions"),
        ((DATA["y"], X, []), "there is no random term"),
        ((DATA["y"], X, [DATA["h"]]), "random holds Series values; it needs RandomTerm"),
        ((DATA["y"], X, [RandomTerm(DATA["h"][:5])]), "groups 'h' (random[0]) has 5 values"),
        ((DATA["y"], X, [RandomTerm(DATA["h"], X[:5])]), "exog of random term 'h' has 5 rows"),
        ((DATA["y"], X, [RandomTerm(DATA["h"], structure="dia")]), "structure='dia' is not known"),
        (
            (DATA["y"], X, [RandomTerm(DATA["h"], X, columns=["a", "b"])]),
            "exog of random term 'h' has 1 columns; columns= names 2",
        ),
        ((DATA["y"], X, [RandomTerm(DATA["h"], np.full(N, 3.0))]), "'x1' of (0 + x1 | h) is const"),
        ((DATA["y"], X, [RandomTerm(DATA["uid"])]), "'uid' has 40 levels for 40 observations"),
        ((DATA["y"], X, [G, RandomTerm(DATA["Subject"])]), "'Intercept' is in two random terms of"),
        (
            (DATA["y"], X, [RandomTerm(np.array(DATA["h"])), RandomTerm(np.array(DATA["h"]))]),
            "'Intercept' is in two random terms of the same groups: 'group1' and 'group2' divide",
        ),
        ((DATA["y"], X.reset_index(drop=True), [G]), "pandas objects with different indexes"),
        ((DATA["y"].where(DATA["y"] > 5), X, [G]), "rows have missing values ('y': "),
        ((DATA["y"], X.replace(X.iloc[3], np.inf), [G]), "'x' in exog is not finite: inf at row"),
    ],
)
def test_arrays(arguments: tuple[Any, ...], message: str) -> None:
    with refused(message):
        design_from_arrays(*arguments)


def test_array_weights() -> None:
    with refused("weights has 2 values; the data have 40 rows"):
        design_from_arrays(DATA["y"], X, G, weights=np.ones(2))
    weights = np.ones(N)
    weights[3] = 0.0
    with pytest.warns(DesignWarning, match="1 of 40 rows have zero weight"):
        assert len(design_from_arrays(DATA["y"], X, G, weights=weights).y) == N - 1


def test_new_arrays() -> None:
    d = design_from_arrays(DATA["y"], X, [G])
    with refused("random has 2 terms; the fit had 1 ('Subject')"):
        d.new_arrays([1.0], [RandomTerm([1]), RandomTerm([1])])
    with refused("random term 'Subject' has 2 columns; the fit had 1"):
        d.new_arrays([1.0], [RandomTerm([1], np.ones((1, 2)))])
    with refused("groups of 'Subject' have 2 values, not 1"):
        d.new_arrays([1.0], [RandomTerm([1, 2])])
    with refused("the design comes from arrays"):
        d.new_data(DATA)
    with refused("the design comes from a formula"):
        design("y ~ x + (1 | h)").new_arrays([1.0])
