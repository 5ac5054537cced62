"""The texts of correlation= and variance=, and what is said of those that mean nothing."""

import pytest

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.residual.text import parse_correlation, parse_variance


@pytest.mark.parametrize(
    ("text", "word", "position", "group", "shown"),
    [
        ("ar1(week | subject)", "ar1", "week", ("subject",), "ar1(week | subject)"),
        ("car1( np.log(t) |a:b )", "car1", "np.log(t)", ("a", "b"), "car1(np.log(t) | a:b)"),
        ("cs(1|g)", "cs", None, ("g",), "cs(1 | g)"),
        ("cs(g)", "cs", None, ("g",), "cs(1 | g)"),
        ("ar1(Q('my week') | Q('a:b'))", "ar1", "Q('my week')", ("Q('a:b')",),
         "ar1(Q('my week') | Q('a:b'))"),
    ],
)  # fmt: skip
def test_correlations(
    text: str, word: str, position: str | None, group: tuple[str, ...], shown: str
) -> None:
    found = parse_correlation(text)
    assert (found.word, found.position, found.group, found.text) == (word, position, group, shown)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ar1(1 | g)", r"ar1\(\) needs the positions of the rows"),
        ("ar1(g)", "needs a position and a group with one bar"),
        ("ar1(week | a | b)", "one bar"),
        ("ar1(week || g)", "one bar"),
        ("cs(week | g)", "all rows of a group are alike"),
        ("ar1(week | a/b)", r"ar1\(week \| a:b\)"),
        ("ar2(week | g)", "Did you mean 'ar1'"),
        ("corAR1(week | g)", "Did you mean ar1"),
        ("toep(week | g)", r"toep\(0 \+ C\(week\) \| subject\) into the"),
        ("week | g", "no call of a structure"),
        ("ar1(week + | g)", "neither a column nor an expression"),
        ("", "is empty"),
        (3, "correlation=3 is no text"),
        (["ar1(week | g)"], "is no text"),
    ],
)
def test_correlations_that_mean_nothing(text: object, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        parse_correlation(text)


def test_variances() -> None:
    parts = parse_variance("sex:arm * power(x ** 2)*exp(z)")
    assert [(p.word, p.codes) for p in parts] == [
        ("strata", ("sex", "arm")),
        ("power", ("x ** 2",)),
        ("exp", ("z",)),
    ]
    assert parse_variance("varPower(x)")[0].text == "power(x)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("power()", "needs a covariate"),
        ("power(fitted(.))", "no likelihood of their own"),
        ("sex * sex", "names a factor twice"),
        ("sex *", "neither a column nor an expression"),
        ("sex + power(x)", r"Write variance='sex \* power\(x\)'"),
        ("power(x | sex)", r"Write variance='sex \* power\(x\)'"),
        ("corAR1(x)", "is a correlation"),
        (None, "variance=None is no text"),
    ],
)
def test_variances_that_mean_nothing(text: object, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        parse_variance(text)
