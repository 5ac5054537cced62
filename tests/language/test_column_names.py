"""Names of columns that Python would not read, R's dot, and columns that update() finds again."""

from __future__ import annotations

import pickle
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import DesignError, FormulaError, MixedLMError, SingularFitWarning
from mixedlm_ext.language.columns import Columns, spelled
from mixedlm_ext.language.parser import parse_formula
from mixedlm_ext.language.update import update_formula
from mixedlm_ext.prediction.predictor import Predictor

MICRO, MU = "\u00b5", "\u03bc"
NAMES = ["yield", "min.temp", "id.no", "class", "lambda", "in", "not", "is", "from", "None", "x.1",
         "2nd", MICRO, "te\u0301", "x²", ".row", "wt.", "_.a", "as"]  # fmt: skip


def fixed(text: str, columns: list[str] = NAMES) -> str:
    return parse_formula(text, columns=columns, allow_no_random=True).fixed


# --- reading --------------------------------------------------------------------------------------


def within_a_call(name: str, template: str) -> bool:
    """Whether a template has a word of Python where Python has a use for it."""
    return (name == "None" and bool(re.search(r"\w\(", template))) or (
        name == "not" and "{} + 1" in template
    )


TEMPLATES = [
    "{} ~ x",
    "y ~ {}",
    "y ~ x + {} + z",
    "y ~ x:{}",
    "y ~ {}:x",
    "y ~ {}*x",
    "y ~ ({} + x)**2",
    "y ~ x - {}",
    "y ~ C({})",
    "y ~ C({}, Sum)",
    "y ~ np.log({} + 1)",
    "y ~ I(2 * {})",
    "y ~ I({} ** 2)",
    "y ~ bs({}, df=4)",
    "log({}) ~ x",
]


@pytest.mark.parametrize(
    ("name", "template"),
    [(n, t) for n in NAMES for t in TEMPLATES if not within_a_call(n, t)],
)
def test_found_without_quotes(name: str, template: str) -> None:
    formula = parse_formula(template.format(name), columns=[name, "x", "y"], allow_no_random=True)
    assert formula.fixed == template.format(f"Q({name!r})")
    assert formula.bare == {name}
    assert formula.shown(formula.fixed) == template.format(name)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "None"])
def test_found_around_a_bar_and_in_an_offset(name: str) -> None:
    quoted = f"Q({name!r})"
    text = f"y ~ 1 + ({name} || g) + (1 | a:{name}/b) + offset({name})"
    formula = parse_formula(text, columns=[name])
    assert [t.expr for t in formula.random] == [quoted, "1", "1"]
    assert [t.group for t in formula.random] == [("g",), ("a", quoted), ("a", quoted, "b")]
    assert formula.random[1].text == f"(1 | a:{name})"
    assert formula.offsets == (quoted,)


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("y ~ I(x in z)", ["in"], "y ~ I(x in z)"),
        ("y ~ I(x in in)", ["in"], "y ~ I(x in Q('in'))"),
        ("y ~ I(x not in z)", ["in", "not"], "y ~ I(x not in z)"),
        ("y ~ I(x is not z)", ["is", "not"], "y ~ I(x is not z)"),
        ("y ~ I(x not in -z)", ["in", "not"], "y ~ I(x not in -z)"),
        (f"y ~ d.{MICRO}", [MICRO], f"y ~ d.{MICRO}"),
        ("y ~ I(not x)", ["not"], "y ~ I(not x)"),
        ("y ~ I(not + x)", ["not"], "y ~ I(not + x)"),
        ("y ~ not + x", ["not"], "y ~ Q('not') + x"),
        ("y ~ I(a if b else c)", ["if", "else"], "y ~ I(a if b else c)"),
        ("y ~ if:else", ["if", "else"], "y ~ Q('if'):Q('else')"),
        ("y ~ and + or", ["and", "or"], "y ~ Q('and') + Q('or')"),
        ("y ~ f(x, True)", ["True"], "y ~ f(x, True)"),
        ("y ~ True:x", ["True"], "y ~ Q('True'):x"),
        ("y ~ x.mean()", ["x", "x.mean"], "y ~ x.mean()"),
        ("y ~ x.mean", ["x", "x.mean"], "y ~ Q('x.mean')"),
        ("y ~ x.mean.max()", ["x", "x.mean"], "y ~ x.mean.max()"),
        ("y ~ a.b.max()", ["a.b"], "y ~ Q('a.b').max()"),
        ("y ~ a.b.c + a.b", ["a.b", "a.b.c"], "y ~ Q('a.b.c') + Q('a.b')"),
        ("y ~ a.bc", ["a.b"], "y ~ a.bc"),
        ("y ~ d.a.b", ["a.b"], "y ~ d.a.b"),
        ("y ~ a.b(x)", ["a.b"], "y ~ a.b(x)"),
        ("y ~ d.class", ["d.class", "class"], "y ~ Q('d.class')"),
        ("y ~ I(1e5 * x)", ["1e5", "x"], "y ~ I(1e5 * x)"),
        ("y ~ x.1 + x.10", ["x.1"], "y ~ Q('x.1') + x.10"),
        ("y ~ Q('a.b') + a.b", ["a.b"], "y ~ Q('a.b') + Q('a.b')"),
        (f"y ~ f(x, {MICRO}=3)", [MICRO], f"y ~ f(x, {MICRO}=3)"),
        (f"y ~ {MU}", [MICRO], f"y ~ Q({MICRO!r})"),
        (f"y ~ {MICRO}", [MU], f"y ~ {MICRO}"),  # Python itself takes it for that column
        (f"y ~ {MICRO} + {MU}", [MICRO, MU], f"y ~ Q({MICRO!r}) + {MU}"),
        ("y ~ t\u00e9", ["te\u0301"], "y ~ Q('te\u0301')"),
    ],
)
def test_where_it_is_ambiguous_python_wins(text: str, columns: list[str], expected: str) -> None:
    if "x.10" in text:  # no column, and no Python
        with pytest.raises(FormulaError, match=r"'x.10' is not a Python expression"):
            fixed(text, columns)
    else:
        assert fixed(text, columns) == expected


@pytest.mark.parametrize("text", ["y ~ a.b + (1 | g)", "y ~ x + (a.b | g)"])
def test_without_data_nothing_is_found(text: str) -> None:
    assert parse_formula(text).bare == frozenset()
    with pytest.raises(FormulaError, match=r"'class' is a word of the Python language\n"):
        parse_formula("y ~ class + (1 | g)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y ~ while + (1 | g)", "'while' is a word of the Python language and no column of the"),
        ("y ~ min.tmp + (1 | g)", "'min.tmp' in the fixed part is neither"),
        ("y ~ min.tmp + (1 | g)", "Did you mean 'min.temp'?"),
        ("y ~ id + (1 | g)", "'id' in the fixed part is neither a column of the data"),
        ("y ~ log + (1 | g)", "'log' in the fixed part is neither a column of the data"),
        ("y ~ z + (1 | id.nr)", "grouping factor 'id.nr' of the random term (1 | id.nr)"),
        ("y ~ min.temp^2 + (1 | g)", "Write min.temp**2 for R's crossing of terms"),
        ("y ~ z + (min.temp | g) + (min.temp | g)", "the random-effects term (min.temp | g) is"),
        ("y ~ log(min.temp - 9) + (1 | g)", "'log(min.temp - 9)' in the fixed part is not finite"),
        ("y ~ I(min.temp.max()) + (1 | g)", "'I(min.temp.max())' in the fixed part is a single"),
        ("y ~ min.temp.nothing + (1 | g)", "cannot evaluate 'min.temp.nothing' in the fixed part"),
    ],
)
def test_errors_show_what_the_user_wrote(text: str, message: str) -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(40, 3)), columns=["y", "min.temp", "z"])
    data["g"] = np.tile(np.arange(8), 5)
    with pytest.raises(MixedLMError) as caught:
        MixedLM.from_formula(text, data)
    assert message in str(caught.value)
    assert "Q(" not in str(caught.value)
    if isinstance(caught.value, FormulaError):
        line, caret = str(caught.value).splitlines()[1:3]
        assert line.strip() == text and caret.strip("^ ") == ""


def test_spelling() -> None:
    assert [spelled(name) for name in ("x", "a b", "class", MICRO)] == [
        *("x", "Q('a b')", "Q('class')", f"Q({MICRO!r})")
    ]
    known = Columns([*NAMES, "x", "a b", 3])
    assert all(known.finds(name) for name in NAMES)
    assert not any(known.finds(name) for name in ("x", "a b", "absent.name"))


# --- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oats() -> pd.DataFrame:
    data = datasets.oats.load_pandas().data
    return data.rename(columns={"nitro": "min.temp", "Variety": "class", "Block": "in"})


pytestmark = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")

BARE = "yield ~ min.temp * class + (min.temp || in) + (1 | in:class)"


@pytest.fixture(scope="module")
def odd(oats: pd.DataFrame) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return MixedLM.from_formula(BARE, oats).fit()


def test_the_same_model_as_with_plain_names(odd: Any) -> None:
    plain = datasets.oats.load_pandas().data.rename(columns={"yield": "y"})
    same = MixedLM.from_formula(
        "y ~ nitro * Variety + (nitro || Block) + (1 | Block:Variety)", plain
    ).fit()
    assert_allclose(odd.objective, same.objective, rtol=1e-12)
    assert_allclose(odd.params, same.params, rtol=1e-12)


def test_tables_print_the_bare_name(odd: Any) -> None:
    assert list(odd.params.index)[:4] == [
        *("Intercept", "class[T.Marvellous]", "class[T.Victory]", "min.temp")
    ]
    assert list(odd.varcorr()["group"]) == ["in", "in", "in:class", "Residual"]
    assert list(odd.varcorr()["name"])[:2] == ["Intercept", "min.temp"]
    assert list(odd.anova().index) == ["min.temp", "class", "min.temp:class"]
    assert odd.model.endog_names == "yield"
    assert odd.model.formula == "Q('yield') ~ Q('min.temp') * Q('class')"
    assert odd.model.formula_full == BARE
    assert odd.random_effects["in:class"].index.names == ["in", "class"]
    for text in (odd.summary().as_text(), str(odd.ranova()), str(odd.emmeans("class"))):
        assert "Q(" not in text


def test_everything_after_the_fit(odd: Any, oats: pd.DataFrame, tmp_path: Any) -> None:
    head = oats.head(9)
    expected = odd.fittedvalues.head(9)
    assert_allclose(odd.predict(head), expected)
    assert_allclose(pickle.loads(pickle.dumps(odd)).predict(head), expected)
    assert_allclose(odd.predict(pl.from_pandas(head)), expected)
    odd.to_predictor().save(tmp_path / "p.json")
    assert_allclose(Predictor.load(tmp_path / "p.json").predict(head), expected)
    both = odd.predict(head, terms=["(1 | in)", "in:class", "(0 + min.temp | in)"])
    assert_allclose(both, expected)
    with pytest.raises(DesignError, match=r"no column 'min\.temp', which the fixed part needs"):
        odd.predict(head.drop(columns="min.temp"))
    assert_allclose(odd.t_test("min.temp = 0").effect, odd.params["min.temp"])


def test_names_in_weights_offset_and_statsmodels_spelling(oats: pd.DataFrame) -> None:
    data = oats.assign(**{"w.1": np.linspace(1, 2, 72), "from": oats["min.temp"]})
    clean = data.rename(columns=dict(zip(data.columns, ["b", "v", "x", "y", "w", "o"])))
    got = MixedLM.from_formula(
        "yield ~ class + offset(from)", data, weights="w.1", groups="in", re_formula="~ min.temp"
    ).fit()
    want = MixedLM.from_formula("y ~ v + offset(o) + (x | b)", clean, weights="w").fit()
    assert got.objective == want.objective
    assert list(got.random_effects) == ["in"]
    assert got.model.design.terms[0].columns == ("Intercept", "min.temp")


# --- the dot --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fixed", "arguments"),
    [
        ("y ~ . + (1 | g)", "y ~ x + z + f", {}),
        ("y ~ . + (x | g)", "y ~ z + f", {}),
        ("y ~ . + (1 | g:f)", "y ~ x + z", {}),
        ("y ~ . - z + (1 | C(g))", "y ~ x + f", {}),
        ("log(y) ~ . + x:z + (1 | g)", "log(y) ~ x + z + f + x:z", {}),
        ("y ~ (. - f)**2 + (1 | g)", "y ~ x + z + x:z", {}),
        ("y ~ 0 + .:f + (1 | g)", "y ~ 0 + x:f + z:f + f", {}),
        ("y ~ . + offset(z) + (1 | g)", "y ~ x + f + offset(z)", {}),
        ("y ~ . + (1 | g)", "y ~ x + f", {"weights": "z"}),
        ("y ~ .", "y ~ f", {"groups": "g", "re_formula": "x + z"}),
    ],
)
def test_dot(text: str, fixed: str, arguments: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame(
        {"y": rng.exponential(size=60), "x": rng.normal(size=60), "z": rng.uniform(size=60),
         "f": rng.choice(list("abc"), 60), "g": np.tile(np.arange(10), 6)}
    )  # fmt: skip
    random = "" if "|" not in text else " + " + text[text.index("(", text.rindex("+")) :]
    direct = MixedLM.from_formula(fixed + random, data, **arguments)
    model = MixedLM.from_formula(text, data, **arguments)
    assert sorted(model.design.x_names) == sorted(direct.design.x_names)
    theta = np.ones(model.problem.covariance.n_theta)
    assert_allclose(model.objective(theta), direct.objective(theta))
    assert model.formula_full == text
    assert "." not in model.formula
    assert MixedLM.from_formula(text, data, **arguments).fit().update("~ .").model.design.x_names


def test_dot_with_odd_names(oats: pd.DataFrame) -> None:
    model = MixedLM.from_formula("yield ~ . + (1 | in)", oats)
    assert model.design.x_names == (
        *("Intercept", "class[T.Marvellous]", "class[T.Victory]", "min.temp"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y ~ x + (. | g)", "has no meaning in a random term"),
        ("y ~ x + (1 | .)", "has no meaning in a random term"),
        (". ~ x + (1 | g)", "has no meaning left of '~'"),
        ("y ~ log(.) + (1 | g)", "A dot for all other columns stands alone"),
        ("y ~ x + . + (x | g)", "the data have none"),
    ],
)
def test_dot_where_it_means_nothing(text: str, message: str) -> None:
    data = {"y": [1.0, 2, 4, 3], "x": [1, 2, 1, 3], "g": list("aabb")}
    with pytest.raises(FormulaError, match=message) as caught:
        MixedLM.from_formula(text, data)
    assert "^" in str(caught.value)


def test_dot_and_a_name_that_is_no_text() -> None:
    data = pd.DataFrame({"y": [1.0, 2, 4, 3], 7: [1, 2, 1, 3], "g": list("aabb")})
    with pytest.raises(DesignError, match=r"7 is a name that is no text.*rename\(columns=str\)"):
        MixedLM.from_formula("y ~ . + (1 | g)", data)


# --- update ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("log(.) ~ .", "log(y - 3) ~ x + (x || g) + (v | h) + (1 | k) + (0 + v | k)"),
        ("I(. / 2) ~ 1", "I((y - 3) / 2) ~ 1"),
        ("~ . - (0 + x | g)", "y - 3 ~ x + (1 | g) + (v | h) + (1 | k) + (0 + v | k)"),
        ("~ . - (1 | g)", "y - 3 ~ x + (0 + x || g) + (v | h) + (1 | k) + (0 + v | k)"),
        ("~ . - (1 | g) - (x - 1 | g)", "y - 3 ~ x + (v | h) + (1 | k) + (0 + v | k)"),
        ("~ . - (v || k)", "y - 3 ~ x + (x || g) + (v | h)"),
    ],
)
def test_update_of_parts(change: str, expected: str) -> None:
    old = parse_formula("y - 3 ~ x + (x || g) + (v | h) + (1 | k) + (0 + v | k)")
    assert update_formula(old, change).text == expected


def test_update_cannot_part_what_is_correlated() -> None:
    old = parse_formula("y ~ x + (x | g)")
    with pytest.raises(FormulaError) as caught:
        update_formula(old, "~ . - (0 + x | g)")
    assert "the formula has (x | g)" in str(caught.value)
    assert "Exchange the whole term: '~ . - (x | g) + (1 | g)'." in str(caught.value)
    assert update_formula(old, "~ . - (x | g) + (1 | g)").text == "y ~ x + (1 | g)"
    with pytest.raises(FormulaError, match="cannot be taken away"):
        update_formula(parse_formula("y ~ x + (x || g)"), "~ . - (x | g)")


def test_update_with_odd_names(odd: Any, oats: pd.DataFrame) -> None:
    smaller = odd.update("log(.) ~ . - min.temp:class - (0 + min.temp | in)")
    text = "log(yield) ~ min.temp + class + (1 | in) + (1 | in:class)"
    assert smaller.model.formula_full == text
    assert_allclose(smaller.objective, MixedLM.from_formula(text, oats).fit().objective)


def frames() -> dict[str, Any]:
    data = datasets.sleepstudy.load_pandas().data
    data["x"] = np.random.default_rng(0).normal(size=len(data))
    return {"pandas": data, "polars": pl.from_pandas(data), "dict": data.to_dict("list"),
            "records": data.to_records(index=False)}  # fmt: skip


@pytest.mark.parametrize("kind", ["pandas", "polars", "dict", "records"])
def test_forward_selection(kind: str) -> None:
    data = frames()[kind]
    result = MixedLM.from_formula("Reaction ~ 1 + (1 | Subject)", data).fit(reml=False)
    for added in ("Days", "x"):
        result = result.update(f". ~ . + {added}")
    direct = MixedLM.from_formula("Reaction ~ Days + x + (1 | Subject)", data).fit(reml=False)
    assert_allclose(result.objective, direct.objective, rtol=1e-12)


def test_new_columns_belong_to_the_rows_of_the_fit() -> None:
    data = frames()["pandas"].set_index(np.arange(180)[::-1])
    data.loc[3, "Reaction"] = np.nan
    few = data["Days"] > 1
    result = MixedLM.from_formula("Reaction ~ 1 + (1 | Subject)", data, subset=few).fit()
    direct = MixedLM.from_formula("Reaction ~ x + (1 | Subject)", data, subset=few).fit()
    assert_allclose(result.update("~ . + x").params, direct.params)
    assert_allclose(result.update("~ . + x", weights="Days").params, MixedLM.from_formula(
        "Reaction ~ x + (1 | Subject)", data, subset=few, weights="Days").fit().params)  # fmt: skip
    with pytest.raises(DesignError, match=r"'Dayz' in the fixed part .* Did you mean 'Days'\?"):
        result.update("~ . + Dayz")


def test_updates_of_updates_keep_the_place_of_the_rows() -> None:
    data = frames()["pandas"]
    data.loc[[30, 100], "x"] = np.nan
    late = data["Days"] > 1
    result = MixedLM.from_formula("Reaction ~ 1 + (1 | Subject)", data, subset=late).fit()
    result = result.update("~ . + x").update("~ . + Days")
    direct = MixedLM.from_formula("Reaction ~ x + Days + (1 | Subject)", data, subset=late).fit()
    assert_allclose(result.objective, direct.objective)
    assert_array_equal(result.model.design.rows.positions, direct.model.design.rows.positions)
    y = data["Reaction"].to_numpy() + data["Days"].to_numpy() ** 2
    assert_allclose(result.refit(y).params, direct.refit(y).params)


def test_data_that_are_gone_or_changed() -> None:
    gone = r"keeps the columns that it uses .*, not 'x', and the data given at first are gone"
    data = frames()["pandas"]
    result = MixedLM.from_formula("Reaction ~ 1 + (1 | Subject)", data).fit()
    with pytest.raises(DesignError, match=gone):
        pickle.loads(pickle.dumps(result)).update("~ . + x")
    assert "x" in pickle.loads(pickle.dumps(result)).update("~ . + x", data=data).params
    data["Reaction"] = data["Reaction"].to_numpy()[::-1].copy()
    with pytest.raises(DesignError, match="the data have changed since"):
        result.update("~ . + x")
    temporary = MixedLM.from_formula("Reaction ~ 1 + (1 | Subject)", data.copy()).fit()
    with pytest.raises(DesignError, match=gone):
        temporary.update("~ . + x")
    held = MixedLM.from_formula("Reaction ~ 1 + (1 | Subject)", frames()["dict"]).fit()
    held.remove_data()
    assert held.model.design.rows.at_hand is None
