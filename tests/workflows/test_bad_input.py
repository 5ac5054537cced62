"""Bad input from end to end: the class of the error, whose thing it names, what it says to type."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedlm_ext.formula.api as smf
from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.__main__ import main
from mixedlm_ext.errors import DesignError, DesignWarning, FitError, FormulaError, MixedLMError

N = 60


def make_data() -> pd.DataFrame:
    """Sixty rows: groups g of five, crossed with h, a factor f, odd columns besides."""
    rng = np.random.default_rng(11)
    g, h = np.repeat(np.arange(12), 5), np.tile(np.arange(3), 20)
    x = rng.integers(10, 20, N)
    effects = 2.0 * rng.normal(size=12)[g] + rng.normal(size=3)[h]
    return pd.DataFrame(
        {
            "y": 2.0 + 0.5 * x + effects + rng.normal(size=N),
            "x": x,
            "z": rng.normal(size=N),
            "f": np.resize(list("abc"), N)[rng.permutation(N)],
            "g": g,
            "h": h,
            "name": [f"site {level}" for level in g],
            "one": 1,
            "uid": np.arange(N),
            "class": rng.normal(size=N),
            "plant height": rng.normal(size=N),
        }
    )


DATA = make_data()
GOOD = "y ~ x + (1 | g)"
may_be_singular = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")


def fit(formula: str = GOOD, data: Any = DATA, **arguments: Any) -> Any:
    return MixedLM.from_formula(formula, data, **arguments).fit()


def check(caught: Any, *messages: str) -> None:
    """Check an error's words, and that it is one for people: whole sentences, no traceback talk."""
    text = str(caught.value)
    for message in messages:
        assert message in text
    assert not re.search(r"ufunc|dtype\(|<class|object at 0x|NoneType: None", text)


@pytest.fixture(autouse=True)
def data_stay_as_they_are() -> Any:
    """Whatever is refused, the user's data are not touched."""
    yield
    pd.testing.assert_frame_equal(DATA, make_data())


# --- the formula, with the caret at the place between « and » -------------------------------------

FORMULAS = [
    ("y ~ x «|» g", "needs parentheses", "Write (x | g)."),
    ("y ~ z + x «||» g", "needs parentheses", "Write (z + x || g) or z + (x || g)."),
    ("y ~ x * «(1 | g)»", "cannot stand under '*'", "as in x + (1 | g)"),
    ("y ~ x : «(1 | g)»", "cannot stand under ':'", "as in x + (1 | g)"),
    ("y ~ x / «(1 | g)»", "cannot stand under '/'", "as in x + (1 | g)"),
    ("y ~ x - «(1 | g)»", "cannot be subtracted", "as in x + (1 | g)"),
    ("(1 «|» g) ~ x", "a bar on the left of '~'", "'y ~ x + (1 | group)'"),
    ("y ~ x + ((1 «|» g) | h)", "a random term within a random term", "(1 | a) + (1 | b)"),
    ("y ~ x + (1 | g «|» h)", "one bar only", "Write (1 | g) + (1 | h), or (1 | g:h)"),
    ("y ~ x + «( | g)»", "has no left side", "Write (1 | g)"),
    ("y ~ x + «(x | )»", "has no grouping factor", "Write (x | group)."),
    ("y ~ x + («0» | g)", "has no columns", "Write (1 | g)"),
    ("y ~ x + (1 | «1»)", "a number cannot be a grouping factor", "(1 | group)"),
    ("y ~ x «~» (1 | g)", "has two '~'", "Keep the one"),
    ("y ~ x + «(»1 | g", "'(' is never closed", "Write the ')'"),
    ("y ~ x + 1 | g«)»", "')' closes nothing", "Remove this ')'"),
    ("y ~ x«^»2 + (1 | g)", "'^' is not a power", "Write x**2"),
    ("y ~ «x + z»", "no random-effects term", "smf.ols('y ~ x + z', data)"),
    ("y ~ x + (1 | g) + «(x | g)»", "'Intercept' is in two random terms", "(0 + x | g)"),
    ("y ~ x + (1 | g) + «(1 | name)»", "'g' and 'name' divide the rows", "Remove (1 | name) or"),
    ("y ~ «with» + (1 | g)", "'with' is a word of the Python language and no column", "the name"),
    ("y ~ z + («with» | g)", "'with' is a word of the Python language and no column", "the name"),
    ("y ~ «plant height» + (1 | g)", "is not a Python", "write Q('plant height')"),
    ("y ~ z + (1 | «plant height»)", "is not a Python", "write Q('plant height')"),
    ("y «=» x + (1 | g)", "the formula has no '~'", "Write ~ between"),
    ("y «∼» x + (1 | g)", "'∼' has no meaning", "looks like the ~ of the keyboard"),
    ("y ~ x + (1 «¦» g)", "'¦' has no meaning", "looks like the | of the keyboard"),
    ("y ~ x «−» 1 + (1 | g)", "'−' has no meaning", "looks like the - of the keyboard"),
    ("y ~ x + (1 | g)«\u200b»", "'\\u200b' has no meaning", "Remove it."),
    ("y ~ «as».factor(x) + (1 | g)", "are R's", "Write C(x)"),
    ("y ~ x + «{»1 | g}", "no random-effects term", "round parentheses"),
    ("y ~ x + (1 | plant«-»id)", "'-' has no meaning", "Q('plant-id')"),
    ("y ~ x/«10» + (1 | g)", "cannot evaluate '10'", "I(x / 10)"),
    ("y ~ (x | g) + «-x»", "cannot evaluate '-x' in the fixed part", "I(-x)"),
    ("y ~ (1 | g) + x**«z»", "positive integer", "Put arithmetic into I(...)"),
    ("y ~ (x-x.mean())/«x.std()» + (1 | g)", "'x.std()' in the fixed part is a", "I((x - x.m"),
    ("y ~ x + («len(z)»*z | g)", "is a single value (60); it needs one for each row", "I(...)"),
    ("y ~ x + (1 | g) + «None»", "is a single value (None)", "return its result?"),
    ("y ~ x + «short» + (1 | g)", "'short' in the fixed part has 5 values", "Make it a column"),
    ("y ~ «forgetful(x)» + z + (1 | g)", "is a single value (None)", "return its result?"),
    ("y ~ «Intercept» + (1 | g)", "has the name of the constant", "Q('Intercept')"),
    ("y ~ C + «C(f)» + (1 | g)", "'C' is a column of the data and a function", "Rename"),
    ("y ~ «x» (1 | g) + (1 | h)", "'x' is a column and cannot be called", "write x + (...)"),
]


def forgetful(values: Any) -> None:
    """A function whose author forgot to return."""


@pytest.mark.parametrize(("marked", "problem", "hint"), FORMULAS, ids=[f[0] for f in FORMULAS])
def test_formulas(marked: str, problem: str, hint: str) -> None:
    before, _, rest = marked.partition("«")
    place, _, after = rest.partition("»")
    short = np.ones(5)  # noqa: F841 - the formula sees it
    with pytest.raises(FormulaError) as caught:
        smf.mixedlm(before + place + after, DATA.assign(Intercept=DATA["z"], C=DATA["z"]))
    check(caught, problem, hint)
    line = before + place + after
    assert f"\n    {line}\n    {' ' * len(before)}{'^' * len(place)}" in str(caught.value)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (
            "y ~ x + (1 | G)",
            "grouping factor 'G' of the random term (1 | G) is not in the data. Did",
        ),
        ("y ~ x + (1 | nam)", "Did you mean 'name'?"),
        ("y ~ Z + (1 | g)", "'Z' in the fixed part is neither a column of the data nor a variable"),
        ("y ~ Z + (1 | g)", "Did you mean 'z'?"),
        ("y ~ factor(x) + (1 | g)", "Where R has factor, write C(x)."),
        ("y ~ x + (1 | factor(g))", "Where R has factor, write C(x)."),
        ("y ~ poly(x, 2) + (1 | g)", "write x + I(x**2), or bs(x, df=4)"),
        ("y ~ x + (1 | None)", "grouping factor 'None' is a single value"),
        ("y ~ x + (1 | len)", "grouping factor 'len' of the random term (1 | len) is not in the"),
        ("y ~ x + (klass | g)", "'klass' in the random term (klass | g) is neither a column"),
        ("y ~ x + (klass | g)", "Did you mean 'class'?"),
        ("y ~ x + (one | g)", "random slope 'one' of (one | g) is constant (1) in the data. Drop"),
        ("y ~ x + (cr(z, df=3) | g)", "Drop it, or the intercept with 0 + ... before the bar."),
        ("y ~ x + (1 | uid)", "grouping factor 'uid' has 60 levels for 60 observations"),
        ("y ~ x + (1 | one)", "grouping factor 'one' has only one level (1)"),
        ("y ~ x + (f + z + x | g)", "(f + z + x | g) has 60 random effects (5 for each of 12 lev"),
        ("y ~ x + (C(one) | g)", "'C(one)' in the random term (C(one) | g) has only one level"),
        ("f ~ x + (1 | g)", "response 'f' is not numeric (it holds "),
        ("y == 2 ~ x + (1 | g)", "response 'y == 2' is boolean"),
        ("one ~ x + (1 | g)", "response 'one' is constant (1)"),
        ("[y, z] ~ x + (1 | g)", "response '[y, z]' has 2 dimensions (2 x 60)"),
        ("C(uid) + y ~ x + (1 | g)", "cannot evaluate 'C(uid) + y' in the response"),
    ],
)
def test_models_that_the_data_do_not_support(formula: str, message: str) -> None:
    with pytest.raises(MixedLMError) as caught:
        MixedLM.from_formula(formula, DATA)
    check(caught, message)


@may_be_singular
@pytest.mark.parametrize("name", ["class", "plant height", "one.two", "x²", "a|b", "a'b", "", "3"])
def test_odd_names_work_everywhere_with_q(name: str) -> None:
    q = f"Q({name!r})"
    for column, formula in [
        ("y", f"{q} ~ x + (x | g)"),
        ("x", f"y ~ {q} + ({q} | g)"),
        ("g", f"y ~ x + (x | {q})"),
    ]:
        data = DATA[["y", "x", "g"]].rename(columns={column: name})
        result = MixedLM.from_formula(formula, data).fit(ddf="normal")
        clean = MixedLM.from_formula("y ~ x + (x | g)", DATA).fit(ddf="normal")
        assert result.objective == clean.objective
        np.testing.assert_array_equal(result.predict(data), clean.predict(DATA))


# --- the data -------------------------------------------------------------------------------------

TIMES = pd.to_timedelta(np.arange(N), "h")
FEW = DATA.groupby("g").head(2)

CASES: list[tuple[Any, dict[str, Any], str]] = [
    (DATA.assign(y=np.inf), {}, "response 'y' is not finite: inf at row 0 and 59 more"),
    (DATA.assign(y=np.nan), {}, "response 'y' has only missing values"),
    (DATA.assign(y=2.5), {}, "response 'y' is constant (2.5)"),
    (DATA.assign(y=0.3 + 5e-17 * (DATA["g"] % 2)), {}, "response 'y' is constant (0.3)"),
    (DATA.assign(y=DATA["y"] + 1j), {}, "response 'y' is complex"),
    (DATA.assign(y=[True, False] * 30), {}, "response 'y' is boolean"),
    (DATA.assign(y=pd.Series([True, None] * 30, dtype=object)), {}, "response 'y' is boolean"),
    (DATA.assign(y=DATA["y"].astype(str)), {}, "Convert it with .astype(float)."),
    (DATA.assign(y=["1.5", "n/a!"] * 30), {}, "(it holds 'n/a!' beside numbers)"),
    (DATA.assign(y=["1,5"] * N), {}, "response 'y' is not numeric (it holds '1,5'). Use"),
    (DATA.assign(y=TIMES), {}, "response 'y' is not numeric"),
    (
        DATA.assign(x=np.where(DATA["g"] == 3, np.inf, 1.0)),
        {},
        "'x' in the fixed part is not finit",
    ),
    (DATA.assign(x=DATA["x"] + 1j), {}, "column 'x' in the fixed part is complex"),
    (DATA.assign(x=DATA["z"].astype(str)), {}, "convert them with .astype(float)"),
    (DATA.assign(x=None), {}, "no row is left: all 60 have missing values ('x': 60)"),
    (DATA.assign(g=None), {}, "no row is left: all 60 have missing values ('g': 60)"),
    (DATA.iloc[:0], {}, "the data have no rows"),
    (DATA.iloc[:1], {}, "response 'y' has one value only"),
    (DATA.iloc[:5], {}, "grouping factor 'g' has only one level (0)"),
    (
        DATA.drop(columns="g"),
        {},
        "grouping factor 'g' of the random term (1 | g) is not in the data",
    ),
    (DATA.set_index("g"), {}, "'g' is in the index: pass data.reset_index()"),
    (DATA.set_axis(range(11), axis=1), {}, "The data have the columns 0, 1, 2"),
    (pd.concat({"a": DATA}, axis=1), {}, "The columns have several levels; flatten them, as in"),
    (pd.concat([DATA, DATA[["x"]]], axis=1), {}, "the data have several columns named 'x'"),
    ({"y": [1.0, 2.0], "x": [1.0], "g": [1, 2]}, {}, "column 'x' has 1 values; the data have 2"),
    ({"y": [1.0, 2.0], "x": [[1], [1, 2]], "g": [1, 2]}, {}, "column 'x' holds lists of different"),
    ({"y": [1.0, 2.0], "x": iter([1]), "g": [1, 2]}, {}, "column 'x' is a list_iter"),
    ("data.csv", {}, "there is no file 'data.csv'. Data are a path or pattern of Parquet"),
    (DATA, {"missing": "omit"}, "missing='omit' is not known. Use one of 'drop'"),
    (DATA.assign(x=[np.nan, 1.0] * 30), {"missing": "raise"}, "('x': 30). Use missing='drop'"),
    (DATA, {"weights": np.ones(5)}, "weights has 5 values; the data have 60 rows"),
    (DATA, {"offset": np.ones(5)}, "offset has 5 values; the data have 60 rows"),
    (DATA, {"weights": -np.ones(N)}, "weights has a negative value: -1 at row 0"),
    (DATA, {"weights": np.full(N, np.inf)}, "weights is not finite: inf at row 0"),
    (DATA, {"offset": np.full(N, np.inf)}, "offset is not finite: inf at row 0"),
    (DATA, {"weights": "w"}, "weights column 'w' is not in the data"),
    (DATA, {"weights": "1/z"}, "write weights=data.eval('1/z')"),
    (DATA, {"weights": (v for v in range(N))}, "weights is a generator; it needs one value"),
    (DATA, {"offset": DATA["z"].sample(frac=1.0, random_state=1)}, "offset has another index"),
    (DATA, {"subset": "x > 3"}, "subset is the text 'x > 3'"),
    (DATA, {"subset": 3}, "subset is of type int"),
    (DATA, {"subset": [True] * 3}, "subset has 3 values; the data have 60 rows"),
    (DATA, {"subset": (DATA["x"] > 15).astype(int)}, "Use .astype(bool)"),
    (DATA, {"subset": slice("p", "q")}, "does not fit the data's index"),
    (DATA, {"drop_cols": 3}, "drop_cols=3 is no list of names"),
    (DATA, {"drop_cols": ["X"]}, "drop_cols has 'X', not a column of the fixed part"),
    (DATA, {"re_formula": "~ x"}, "re_formula and vc_formula need groups="),
]


@pytest.mark.parametrize(("data", "arguments", "message"), CASES, ids=[c[2][:60] for c in CASES])
def test_data(data: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError) as caught:
        MixedLM.from_formula(GOOD, data, **arguments)
    check(caught, message)


def test_too_few_rows_for_a_slope_and_for_the_fixed_part() -> None:
    with pytest.raises(DesignError, match=r"\(x \| g\) has 24 random effects .* for 24 obs"):
        fit("y ~ x + (x | g)", FEW)
    with pytest.raises(DesignError, match=r"belong to 'C\(uid\)', one for each of its values"):
        fit("y ~ C(uid) + (1 | g)")


def test_series_of_the_scope_with_another_index() -> None:
    mixed = DATA["z"].sample(frac=1.0, random_state=1)
    with pytest.raises(DesignError, match="mixed has another index than the data"):
        MixedLM.from_formula("y ~ mixed + (1 | g)", DATA)
    assert len(mixed) == N


def test_one_level_of_a_fixed_factor_is_said() -> None:
    with pytest.warns(DesignWarning, match=r"'C\(one\)' in the fixed part has only one level"):
        result = fit("y ~ x + C(one) + (1 | g)")
    assert result.objective == fit().objective


@pytest.mark.parametrize("names", [["Q('0')", "Q('1')", "Q('4')"], ["Q(0)", "Q(1)", "Q(4)"]])
def test_names_that_are_no_text(names: list[str]) -> None:
    y, x, g = names
    with pytest.raises(MixedLMError, match=r"data.rename\(columns=str\)|name of a column in quot"):
        fit(f"{y} ~ {x} + (1 | {g})", DATA.set_axis(range(11), axis=1))


# --- odd data that are right ----------------------------------------------------------------------


KINDS = "int8 uint8 Int8 UInt16 uint64 float16 float32 object Float64 >i4 >f8 int8[pyarrow]"


@may_be_singular
@pytest.mark.parametrize("kind", [*KINDS.split(), "Sparse[int]"])
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + I(x * x) + (1 | g)",
        "y ~ I(x - 15) + (1 | g)",
        "y ~ z + (1 | I(x * x))",
        "I(y + x * x) ~ z + offset(x * x) + (1 | x)",
        "y ~ C(x) + (1 | g)",
    ],
)
def test_narrow_and_odd_numbers_count_as_numbers(kind: str, formula: str) -> None:
    x = DATA["x"].to_numpy().astype(kind) if kind[0] == ">" else DATA["x"].astype(kind)
    data = DATA.assign(x=x)
    model, clean = MixedLM.from_formula(formula, data), MixedLM.from_formula(formula, DATA)
    np.testing.assert_allclose(model.endog, clean.endog)
    np.testing.assert_allclose(model.exog, clean.exog)
    result = clean.fit(ddf="normal")
    assert model.objective(result.theta) == pytest.approx(result.objective)
    np.testing.assert_allclose(result.predict(data), result.predict(DATA))


def test_integers_beyond_64_bits() -> None:
    big = DATA.assign(
        x=[10**25 * int(x) for x in DATA["x"]], g=[10**25 * int(g) for g in DATA["g"]]
    )
    assert fit(data=big).params["x"] * 1e25 == pytest.approx(fit().params["x"])
    wide = pl.DataFrame({k: DATA[k].tolist() for k in "yxg"}).with_columns(
        pl.col("x").cast(pl.Int128)
    )
    assert fit(data=wide).objective == fit().objective


def test_levels_of_a_list_keep_their_types() -> None:
    groups = ["1" if g == 0 else int(g) for g in DATA["g"]]
    model = MixedLM(DATA["y"], np.ones(N), [RandomTerm(groups)])
    assert len(model.random_terms[0].levels) == 12


def test_a_dict_broadcasts_single_values() -> None:
    result = fit()
    expected = result.predict({"x": [1, 2], "g": [3, 3]})
    np.testing.assert_array_equal(result.predict({"x": [1, 2], "g": 3}), expected)


def test_subset_of_objects_and_of_one_column() -> None:
    keep = DATA["x"] > 12
    expected = fit(data=DATA[keep]).objective
    for subset in (keep.astype(object), keep.to_frame(), pl.Series(keep.tolist()), keep.tolist()):
        assert fit(subset=subset).objective == expected


# --- arrays ---------------------------------------------------------------------------------------

X = np.column_stack([np.ones(N), DATA["x"]])
TERM = RandomTerm(DATA["g"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, X, [TERM]), "endog is a NoneType; it needs one value a row"),
        (([1, [2, 3]], X, [TERM]), "endog holds lists of different lengths"),
        (([], None, [RandomTerm([])]), "the data have no rows"),
        ((DATA["y"], X[:5], [TERM]), "exog 'const' has 5 values; endog has 60"),
        ((DATA["y"], "x", [TERM]), "exog is a str; it needs rows and columns"),
        ((DATA["y"], X, None), "Pass random=[RandomTerm(groups)]"),
        ((DATA["y"], X, [TERM, 3]), "random holds int values; it needs RandomTerm objects"),
        ((DATA["y"], X, [RandomTerm("g")]), "Pass its values, as in data['g']"),
        ((DATA["y"], X, [RandomTerm([])]), "has 0 values; endog has 60"),
        ((DATA["y"], X, [TERM, RandomTerm(-DATA["g"])]), "'Intercept' is in two random terms"),
        ((DATA["y"], X, [RandomTerm(DATA["uid"])]), "'uid' has 60 levels for 60 observations"),
    ],
)
def test_arrays(arguments: Any, message: str) -> None:
    with pytest.raises(DesignError) as caught:
        MixedLM(*arguments)
    check(caught, message)


# --- fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_params": [1.0, 2.0]}, "1 covariance parameter"),
        ({"start_params": ["a"]}, "numbers"),
        ({"start_params": "abc"}, "numbers"),
        ({"start_params": [np.nan]}, "finite"),
        ({"method": "newtn"}, "method='newtn' is not known. Did you mean 'newton'?"),
        ({"method": "NEWTON"}, "Did you mean 'newton'?"),
        ({"maxiter": 0}, "maxiter=0 leaves nothing to do. Pass a whole number"),
        ({"tol": 0}, "tol=0 can never be reached. Pass a positive number"),
        ({"tol": np.nan}, "tol=nan can never be reached. Pass a positive number"),
        ({"sigma": -1}, "sigma=-1 is no standard deviation. Pass a positive number"),
        ({"sigma": "one"}, "sigma='one' is no standard deviation. Pass a positive number"),
        ({"ddf": "satterthwait"}, "Did you mean 'satterthwaite'?"),
        ({"ddf": None}, "Use one of satterthwaite, kenward-roger, residual, normal"),
    ],
)
def test_arguments_of_fit(arguments: dict[str, Any], message: str) -> None:
    model = MixedLM.from_formula(GOOD, DATA)
    with pytest.raises(FitError) as caught:
        model.fit(**arguments)
    check(caught, message)
    assert model.fit().objective == fit().objective  # nothing was left half done


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MixedLM.from_formula(GOOD, DATA).fit(max_iter=3), "Did you mean 'maxiter'?"),
        (lambda: MixedLM.from_formula(GOOD, DATA).fit(REML=False), "Did you mean 'reml'?"),
        (lambda: smf.mixedlm(GOOD, DATA, weight="z"), "Did you mean 'weights'?"),
        (lambda: MixedLM(DATA["y"], X, [TERM], offsets=1), "Did you mean 'offset'?"),
        (lambda: MixedLM.from_formula(None, DATA), "a formula is a string such as 'y ~ x + (1"),
        (lambda: MixedLM.from_formula(DATA, GOOD), "not DataFrame"),
    ],
)
def test_type_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    check(caught, message)


def test_as_many_levels_as_observations_needs_known_variances() -> None:
    with pytest.raises(DesignError, match=r"pass weights=1/variance and fit\(sigma=1\)"):
        MixedLM.from_formula("y ~ 1 + (1 | uid)", DATA)
    model = MixedLM.from_formula("y ~ 1 + (1 | uid)", DATA, weights=np.ones(N))
    with pytest.raises(DesignError, match=r"pass weights=1/variance and fit\(sigma=1\)"):
        model.fit()
    assert model.fit(sigma=1.0).converged


# --- predict --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result() -> Any:
    return MixedLM.from_formula("y ~ x + f + (1 | g)", DATA).fit()


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (DATA.drop(columns="x"), {}, "the new data have no column 'x', which the fixed part needs"),
        (DATA.drop(columns="g"), {}, "no column 'g', which the random term (1 | g) needs"),
        (DATA.rename(columns={"x": "X"}), {}, "Did you mean 'X'?"),
        (DATA.assign(x="3"), {}, "column 'x' is not numeric in the new data (it holds '3')"),
        (DATA.assign(f="d"), {}, "column 'f' has the level 'd' in the new data (row 0)"),
        (DATA.assign(g=77), {"new_levels": "error"}, "Use new_levels='population'"),
        (DATA, {"new_levels": "pop"}, "Use one of 'population', 'error', 'nan'"),
        (DATA, {"which": "Conditional"}, "Did you mean 'conditional'?"),
        (DATA, {"offset": [1.0]}, "offset has 1 values; the data have 60 rows"),
        (DATA, {"offset": DATA["z"].iloc[::-1]}, "offset has another index than the data"),
        (DATA.to_numpy(), {}, "data is a ndarray; pass a pandas or polars DataFrame"),
        ({"x": 1, "g": 3, "f": "a"}, {}, "Write lists, such as {'x': [1]}"),
    ],
)
def test_predict(data: Any, arguments: dict[str, Any], message: str, result: Any) -> None:
    with pytest.raises(DesignError) as caught:
        result.predict(data, **arguments)
    check(caught, message)
    np.testing.assert_allclose(result.predict(DATA), result.fittedvalues)


def test_unseen_levels(result: Any) -> None:
    new = DATA.assign(g=np.where(DATA["g"] == 3, 77, DATA["g"]))
    unseen = (DATA["g"] == 3).to_numpy()
    population = result.predict(new, which="population")
    np.testing.assert_array_equal(result.predict(new)[unseen], population[unseen])
    np.testing.assert_array_equal(result.predict(new, new_levels="nan").isna(), unseen)


def test_an_unseen_level_within_an_expression_names_it() -> None:
    result = fit("y ~ f.str.upper() + (1 | g)")
    with pytest.raises(DesignError, match=r"'f.str.upper\(\)' in the fixed part has the level 'D'"):
        result.predict(DATA.assign(f="d"))


@pytest.mark.parametrize(
    ("exog", "arguments", "message"),
    [
        (X, {}, "the random terms of the new rows are missing"),
        (X, {"random": 3}, "random=3 is no list of RandomTerm objects"),
        (X, {"random": [TERM, TERM]}, "random has 2 terms; the fit had 1"),
        (X[:, :1], {"random": [TERM]}, "exog has 1 columns; the fit had 2 ('c', 'x')"),
        (X, {"random": [TERM], "offset": ["a"] * N}, "offset is not numeric (it holds 'a')"),
        (pd.DataFrame(X, columns=["c", "z"]), {"random": [TERM]}, "exog has no column 'x'"),
    ],
)
def test_predict_from_arrays(exog: Any, arguments: dict[str, Any], message: str) -> None:
    result = MixedLM(DATA["y"], pd.DataFrame(X, columns=["c", "x"]), [TERM]).fit(ddf="normal")
    with pytest.raises(DesignError) as caught:
        result.predict(exog, **arguments)
    check(caught, message)


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["y ~ x + (1 | G)", "{}"], "grouping factor 'G' of the random term (1 | G) is not in"),
        (["y ~ x | g", "{}"], "      y ~ x | g\n"),
        (["y ~ x + (1 | g)"], "name a file after the formula"),
        (["y ~ x + (1 | g)", "nowhere.csv"], "there is no file 'nowhere.csv'"),
        (["y ~ x + (1 | g)", "{}", "--weights", "w"], "weights column 'w' is not in the data"),
        (["with ~ x + (1 | g)", "{}"], "'with' is a word of the Python language and no column"),
        (["Q('plant height') ~ one + (1 | uid)", "{}"], "has 60 levels for 60 observations"),
    ],
)
def test_command_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DATA.to_csv(tmp_path / "data.csv", index=False)
    status = main([argument.format(tmp_path / "data.csv") for argument in arguments])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("mixedlm: ") and message.strip() in err


def test_yield_in_the_oats_data() -> None:
    data = datasets.oats.load_pandas().data
    bare, quoted = (fit(f"{name} ~ 1 + (1 | Block)", data) for name in ("yield", "Q('yield')"))
    assert bare.objective == quoted.objective
    assert (bare.model.endog_names, quoted.model.endog_names) == ("yield", "Q('yield')")
