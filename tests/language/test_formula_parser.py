"""The formula language: every row of its table, every error with its caret, and properties."""

import re

import patsy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.language import MixedFormula, parse_formula, translate_statsmodels


def terms(formula: MixedFormula) -> list[str]:
    return [term.text for term in formula.random]


# ---------------------------------------------------------------- what is written, what it means

MEANINGS = [
    # written, fixed part, random terms
    ("y ~ x + (1 | g)", "y ~ x", ["(1 | g)"]),
    ("y ~ (x | g)", "y ~ 1", ["(x | g)"]),
    ("y ~ (1 + x | g)", "y ~ 1", ["(1 + x | g)"]),
    ("y ~ (0 + x | g)", "y ~ 1", ["(0 + x | g)"]),
    ("y ~ (x - 1 | g)", "y ~ 1", ["(x - 1 | g)"]),
    ("y ~ (x || g)", "y ~ 1", ["(x || g)"]),
    ("y ~ (1 | a/b)", "y ~ 1", ["(1 | a)", "(1 | a:b)"]),
    ("y ~ (x | a/b/c)", "y ~ 1", ["(x | a)", "(x | a:b)", "(x | a:b:c)"]),
    ("y ~ (1 | a:b)", "y ~ 1", ["(1 | a:b)"]),
    ("y ~ (1 | b:a)", "y ~ 1", ["(1 | b:a)"]),
    ("y ~ (1 | a*b)", "y ~ 1", ["(1 | a)", "(1 | b)", "(1 | a:b)"]),
    ("y ~ (1 | a+b)", "y ~ 1", ["(1 | a)", "(1 | b)"]),
    ("y ~ (f*x | g)", "y ~ 1", ["(f*x | g)"]),
    ("y ~ (bs(x, df=4) | g)", "y ~ 1", ["(bs(x, df=4) | g)"]),
    ("y ~ (1 | g) + (0 + x | g)", "y ~ 1", ["(1 | g)", "(0 + x | g)"]),
    ("y ~ 0 + (1 | g)", "y ~ 0", ["(1 | g)"]),
    ("y ~ (1 | g) - 1", "y ~ -1", ["(1 | g)"]),
    ("y ~ (1 | g) - x", "y ~ 1 - x", ["(1 | g)"]),
    ("y ~ -1 + x + (1 | g)", "y ~ -1 + x", ["(1 | g)"]),
    ("log(y) ~ x + (1 | g)", "log(y) ~ x", ["(1 | g)"]),
    ("np.log(y) ~ x + (1 | g)", "np.log(y) ~ x", ["(1 | g)"]),
    ("y - 1500 ~ x + (1 | g)", "I(y - 1500) ~ x", ["(1 | g)"]),
    # the grouping expression
    ("y ~ (1 | C(g))", "y ~ 1", ["(1 | C(g))"]),
    ("y ~ (1 | Q('odd name'):b)", "y ~ 1", ["(1 | Q('odd name'):b)"]),
    ("y ~ (1 | d.site)", "y ~ 1", ["(1 | d.site)"]),
    ("y ~ (1 | (a + b):c)", "y ~ 1", ["(1 | a:c)", "(1 | b:c)"]),
    ("y ~ (1 | (a + b)/c)", "y ~ 1", ["(1 | a)", "(1 | b)", "(1 | a:b:c)"]),
    ("y ~ (1 | a/(b + c))", "y ~ 1", ["(1 | a)", "(1 | a:b)", "(1 | a:c)"]),
    ("y ~ (1 | a/b:c)", "y ~ 1", ["(1 | a)", "(1 | a:b:c)"]),
    ("y ~ (1 | a + b + a)", "y ~ 1", ["(1 | a)", "(1 | b)"]),
    ("y ~ (1 | a:b + b:a)", "y ~ 1", ["(1 | a:b)"]),
    ("y ~ (1 | a + C( f ) + C(f))", "y ~ 1", ["(1 | a)", "(1 | C( f ))"]),
    ("y ~ (1 | (g))", "y ~ 1", ["(1 | g)"]),
    # the fixed part keeps its text
    ("y ~ x*z - 1 + (1 | g)", "y ~ x*z - 1", ["(1 | g)"]),
    ("y ~ (x + z)**2 + x:z + (1 | g)", "y ~ (x + z)**2 + x:z", ["(1 | g)"]),
    ("y ~ x % 2 + np.log(x) + (1 | g)", "y ~ x % 2 + np.log(x)", ["(1 | g)"]),
    ("y ~ I(a | b) + {a | b} + d[a | b] + (1 | g)", None, ["(1 | g)"]),
    ("y ~ Q('odd | name') + C(a, Treatment('b|c')) + (1 | g)", None, ["(1 | g)"]),
    ("y ~ I(a ^ b) + I(~a) + (1 | g)", "y ~ I(a ^ b) + I(~a)", ["(1 | g)"]),
    ("y ~ x + (I(a | b) | I(c | d))", "y ~ x", ["(I(a | b) | I(c | d))"]),
    ("y ~ Q('~ (') + (Q('a | b') | Q(\"c ~ d)\"))", None, ["(Q('a | b') | Q(\"c ~ d)\"))"]),
    ("größe ~ µ + (1 | 地区)", "größe ~ µ", ["(1 | 地区)"]),
    # parentheses around random terms
    ("y ~ ((1 | g))", "y ~ 1", ["(1 | g)"]),
    ("y ~ (x + (1 | g))", "y ~ (x)", ["(1 | g)"]),
    ("y ~ x + (0 + z + ((1 | g) + (1 | h)))", "y ~ x + (0 + z)", ["(1 | g)", "(1 | h)"]),
    ("y ~ + (1 | g)", "y ~ 1", ["(1 | g)"]),
    # white space
    ("y~x+(1|g)", "y ~ x", ["(1 | g)"]),
    ("y ~ x +\n  (1 + x\n   | g)\n", "y ~ x", ["(1 + x | g)"]),
    ("\ty\n~\nx\r\n+ (1\u00a0|g)", "y ~ x", ["(1 | g)"]),
]


@pytest.mark.parametrize("text, fixed, random", MEANINGS, ids=[m[0] for m in MEANINGS])
def test_meaning(text, fixed, random):
    formula = parse_formula(text)
    assert formula.text == text
    assert formula.fixed == (fixed or text.rpartition(" + ")[0])
    assert terms(formula) == random
    assert formula.offsets == ()
    patsy.ModelDesc.from_formula(formula.fixed)


def test_fields_of_a_term():
    text = "y ~ x + (1 + z || a/b)"
    first, second = parse_formula(text).random
    assert (first.expr, first.group, first.structure) == ("1 + z", ("a",), "diag")
    assert (second.group, second.group_name) == (("a", "b"), "a:b")
    for term in (first, second):
        assert text[slice(*term.span)] == "(1 + z || a/b)"
        assert text[slice(*term.expr_span)] == "1 + z"
        assert text[slice(*term.group_span)] == "a/b"


@pytest.mark.parametrize(
    "text, fixed, offsets",
    [
        ("y ~ x + offset(z) + (1 | g)", "y ~ x", ("z",)),
        ("y ~ offset( np.log(n, 2) ) + (1 | g)", "y ~ 1", ("np.log(n, 2)",)),
        ("y ~ (1 | g) + offset(a +\nb) + x + (offset(c))", "y ~ x", ("a + b", "c")),
        ("y ~ offset + offset2(z) + (1 | g)", "y ~ offset + offset2(z)", ()),
        ("y ~ offset(a).b(c) + (1 | g)", "y ~ offset(a).b(c)", ()),
    ],
)
def test_offsets(text, fixed, offsets):
    formula = parse_formula(text)
    assert (formula.fixed, formula.offsets) == (fixed, offsets)
    assert [re.sub(r"\s+", " ", text[slice(*s)]) for s in formula.offset_spans] == list(offsets)


@pytest.mark.parametrize(
    "text, response, patsy_response",
    [
        ("log(y) ~ (1 | g)", "log(y)", "log(y)"),
        ("I(a | b) ~ (1 | g)", "I(a | b)", "I(a | b)"),
        ("y\n-  1500 ~ (1 | g)", "y - 1500", "I(y - 1500)"),
        ("-y ~ (1 | g)", "-y", "I(-y)"),
        ("(a + b)/2 ~ (1 | g)", "(a + b)/2", "I((a + b)/2)"),
    ],
)
def test_response(text, response, patsy_response):
    formula = parse_formula(text)
    assert (formula.response, formula.fixed) == (response, f"{patsy_response} ~ 1")


def test_no_random_term_can_be_allowed():
    assert parse_formula("y ~ x - 1", allow_no_random=True).random == ()


@pytest.mark.parametrize("value", [None, 3, b"y ~ x", ["y ~ x"]])
def test_not_a_string(value):
    with pytest.raises(TypeError, match=rf"'y ~ x \+ .*not {type(value).__name__}"):
        parse_formula(value)


# ------------------------------------------------------------------------------ errors and carets

PARENS = "a random-effects term needs parentheses"
NO_GROUP = "the random-effects term has no grouping factor"
NO_MEANING = "has no meaning in a grouping factor"
NO_RANDOM = "the formula has no random-effects term"
POWER = "'^' is not a power in Python"
# The offending characters stand between « and », which are not part of the formula.
ERRORS = [
    ("y ~ x «|» g", PARENS, "Write (x | g)."),
    ("y ~ x «||» g", PARENS, "Write (x || g)."),
    ("y ~ 1 + x «|» g", PARENS, "Write (1 + x | g) or 1 + (x | g)."),
    ("y ~ x + (1 | g) «|» h", PARENS, "each random term in parentheses"),
    ("y ~ x * «(1 | g)»", "a random-effects term cannot stand under '*'", "x + (1 | g)"),
    ("y ~ «(1 | g)»:x", "cannot stand under ':'", "x + (1 | g)"),
    ("y ~ a:x/«(1 | g)»", "cannot stand under '/'", "x + (1 | g)"),
    ("y ~ (x + «(1 | g)»)**2", "cannot stand under '**'", "x + (1 | g)"),
    ("y ~ x - «(1 | g)»", "a random-effects term cannot be subtracted", "with +"),
    ("y ~ x - (z + «(1 | g)»)", "a random-effects term cannot be subtracted", "with +"),
    ("y ~ -«(1 | g)»", "a random-effects term cannot be subtracted", "with +"),
    ("y «|» g ~ x", "a bar on the left of '~'", "to the right side"),
    ("y + (1 «|» g) ~ x", "a bar on the left of '~'", "to the right side"),
    ("y ~ (1 | g «|» h)", "one bar only", "Write (1 | g) + (1 | h), or (1 | g:h)"),
    ("y ~ (x | «|» g)", "one bar only", "Write || without a blank"),
    ("y ~ ((1 «|» g) | h)", "a random term within a random term", "(1 | a) + (1 | b)"),
    ("y ~ (1 | (g «|» h))", "a random term within a random term", "(1 | a) + (1 | b)"),
    ("y ~ x + «(Days | )»", NO_GROUP, "Write (Days | group)."),
    ("y ~ x + «(||)»", NO_GROUP, "Write (1 || group)."),
    ("y ~ x + «( | g)»", "has no left side", "Write (1 | g) for one intercept per level of g."),
    ("y ~ x + «( )»", "these parentheses are empty", "Remove"),
    ("y ~ («0» | g)", "the random-effects term (0 | g) has no columns", "Write (1 | g)"),
    ("y ~ («-1» | g)", "has no columns", "(0 + x | g)"),
    ("y ~ («0 + (0)» | g)", "has no columns", "(0 + x | g)"),
    ("y ~ («1 - 1» | g)", "has no columns", "(0 + x | g)"),
    ("y ~ (x | «1»)", "a number cannot be a grouping factor", "(1 | group)"),
    ("y ~ (x | g:«2.5»)", "a number cannot be a grouping factor", "(1 | group)"),
    ("y ~ (x | «'g'»)", "a text in quotes cannot be a grouping factor", "(1 | group)"),
    ("y ~ (1 | g «-» h)", f"'-' {NO_MEANING}", "a/b for b nested in a"),
    ("y ~ (1 | «-»g)", f"'-' {NO_MEANING}", "a:b for combinations"),
    ("y ~ (1 | (a + b)«**»2)", f"'**' {NO_MEANING}", "a:b for combinations"),
    ("y ~ (1 | a «%in%» b)", "%in% is R's operator", "Write a:b"),
    ("y ~ (1 | g) + «(1|g)»", "the random-effects term (1 | g) is there twice", "Remove"),
    ("y ~ (1 | a/b) + «(1 | b:a)»", "term (1 | b:a) is there twice", "Remove"),
    ("y ~ («offset(z)» | g)", "an offset is no random effect", "x + offset(z) + (1 | group)"),
    ("y ~ x*«offset(z)» + (1 | g)", "an offset cannot stand under '*'", "x + offset(z)"),
    ("y ~ x - «offset(z)» + (1 | g)", "an offset cannot be subtracted", "x + offset(z)"),
    ("y ~ «offset()» + (1 | g)", "offset() takes one expression", "offset(z)"),
    ("y ~ «offset(a, b)» + (1 | g)", "offset() takes one expression", "offset(a + b)"),
    ("y ~ offset(«a=1») + (1 | g)", "'a=1' is not a Python expression", "I(...)"),
    ("y ~ x «~» (1 | g)", "the formula has two '~'", "Keep the one"),
    ("y ~ (a «~» b | g)", "the formula has two '~'", "Keep the one"),
    ("y + (a «~» b)", "'~' stands within parentheses", "Take it out"),
    (" «y + (1 | g)» ", "the formula has no '~'", "'y ~ x + (1 | group)'"),
    ("«~» x + (1 | g)", "nothing stands left of '~'", "such as y ~ x + (1 | g)."),
    ("y «~» ", "nothing stands right of '~'", "Write y ~ 1 + (1 | group)"),
    ("y ~ x + «(»1 | g", "'(' is never closed", "Write the ')'"),
    ("y ~ x + 1 | g«)»", "')' closes nothing", "Remove this ')'"),
    ("y ~ (x[1«)» + (1 | g)", "')' cannot close '['", "Write ']' before it"),
    ("y ~ " + "(" * 50 + "«(»" + "x" + ")" * 51, "more than 50 brackets", "not needed"),
    ("y ~ x«^»2 + (1 | g)", POWER, "Write x**2 for R's crossing of terms, I(x**2)"),
    ("y ~ (a + b)«^»2 + (1 | g)", POWER, "Write ** as in (a + b)**2"),
    ("y ~ I(x«^»2) + (1 | g)", POWER, "Write I(x**2)."),
    ("y ~ np.log(x «^» 2) + (1 | g)", POWER, "Write x**2."),
    ("y ~ «x + z»", NO_RANDOM, "smf.ols('y ~ x + z', data)"),
    ("y ~ x «(»1 | g)", NO_RANDOM, "If a + is missing after 'x', write x + (1 | group)."),
    ("y ~ «x (1 || g)»", "is not a Python expression", "Put a + before the parenthesis"),
    ("y ~ (1 | g) «(»1 | h)", "an operator is missing before this", "Join terms with +"),
    ("y ~ (1 | g) «z»", "an operator is missing before this", "Join terms with +"),
    ("y ~ x «+» ", "'+' has nothing on its right", "Remove the '+'"),
    ("y ~ (1 | g) + «*» z", "'*' has nothing on its left", "Remove the '*'"),
    ("y ~ x + (1 | g «+» )", "'+' has nothing on its right", "Remove the '+'"),
    ("y ~ «.» + (1 | g)", "'.', R's word for all other columns", "Write the names"),
    ("y ~ a«,» b + (1 | g)", "a comma cannot separate terms", "Join terms with +"),
    ("y ~ Q(«'»x) + (1 | g)", "the text in quotes that starts here never ends", "Q('odd name')"),
    ("y ~ x + (1 | g) «#» why", "comments are not possible", "Remove the text"),
    ("y ~ «`»a b` + (1 | g)", "'`' has no meaning in a formula", "Q('odd name')"),
    ("y ~ d«$»x + (1 | g)", "'$' has no meaning in a formula", "column's name alone"),
    ("y ~ x + (1 | g) «?»", "'?' has no meaning in a formula", "A formula looks like"),
    ("«yield» ~ (1 | g)", "'yield' is a word of the Python language", "Write Q('yield')"),
    ("log(«yield») ~ (1 | g)", "'yield' is a word of the Python language", "Write Q('yield')"),
    ("y ~ x + («lambda» | g)", "'lambda' is a word of", "Write Q('lambda')"),
    ("y ~ x + (1 | «class»)", "'class' is a word of the Python language", "Write Q('class')"),
    ("y ~ «plant height» + (1 | g)", "'plant height' is not a Python", "Q('plant height')"),
    ("y ~ x + (1 | «2nd»)", "'2nd' is not a Python expression", "write Q('2nd')"),
    ("y ~ «a <» -b + (1 | g)", "'a <' is not a Python expression", "I(...)"),
    ("«y:z» ~ (1 | g)", "'y:z' is not a Python expression", "I(...)"),
]


@pytest.mark.parametrize("marked, problem, hint", ERRORS, ids=[e[0] for e in ERRORS])
def test_error_and_caret(marked, problem, hint):
    before, _, rest = marked.partition("«")
    offending, _, after = rest.partition("»")
    text = before + offending + after
    with pytest.raises(FormulaError) as caught:
        parse_formula(text)
    error = caught.value
    assert problem in error.problem
    assert hint in error.hint
    assert (error.formula, error.span) == (text, (len(before), len(before + offending)))
    assert f"\n    {text}\n    {' ' * len(before)}{'^' * len(offending)}\n" in str(error)


def test_caret_on_the_line_of_the_error():
    with pytest.raises(FormulaError) as caught:
        parse_formula("y ~ x +\n  (1 |\n   3)")
    assert "\n       3)\n       ^\n" in str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_empty_formula(text):
    with pytest.raises(FormulaError, match="the formula is empty"):
        parse_formula(text)


# ------------------------------------------------------------------------- statsmodels' arguments


@pytest.mark.parametrize(
    "re_formula, vc_formula, random",
    [
        (None, None, ["(1 | g)"]),
        (None, {}, ["(1 | g)"]),
        ("1", None, ["(1 | g)"]),
        ("~ z", None, ["(z | g)"]),
        ("z", None, ["(z | g)"]),
        ("1 + z", None, ["(1 + z | g)"]),
        (None, {"room": "0 + C(room)"}, ["room: 0 + C(room)"]),
        ("1", {"room": "C(room) - 1"}, ["(1 | g)", "room: C(room) - 1"]),
        ("0", {"room": "~ 0 + room"}, ["room: 0 + room"]),
        (None, {"b": "0 + x", "a": "1"}, ["a: 1", "b: 0 + x"]),
        (None, {"a": "0 + x + z"}, ["a: 0 + x + z"]),
        (None, {"a": "C(f, Sum)*x"}, ["a: C(f, Sum)*x"]),
    ],
)
def test_translate(re_formula, vc_formula, random):
    formula = translate_statsmodels("y ~ x", "g", re_formula, vc_formula)
    assert (formula.text, formula.fixed) == ("y ~ x", "y ~ x")
    written = [f"{t.name}: {t.expr}" if t.structure == "iid" else t.text for t in formula.random]
    assert written == random
    assert {(term.span, term.group) for term in formula.random} == {((0, 0), ("g",))}


@pytest.mark.parametrize("name, spelled", [("odd name", "Q('odd name')"), ("class", "Q('class')")])
def test_translate_quotes_the_column_of_the_groups(name, spelled):
    assert translate_statsmodels("y ~ x", name, None, None).random[0].group == (spelled,)


@pytest.mark.parametrize(
    "re_formula, vc_formula, problem, hint",
    [
        ("", None, "re_formula is empty", "re_formula='1'"),
        ("~", None, "re_formula is empty", "re_formula='1'"),
        ("0", None, "re_formula has no columns", "'~ x'"),
        ("y ~ z", None, "re_formula has no response", "right side only"),
        ("(z | g)", None, "re_formula holds a bar", "columns only"),
        ("z + offset(w)", None, "re_formula holds an offset", "main formula"),
        ("z^2", None, POWER, "Write z**2"),
        (None, {"a": ""}, "vc_formula['a'] is empty", "='1'"),
        (None, {"a": "0"}, "vc_formula['a'] has no columns", "0 + C(factor)"),
        (None, {"a": "(z | g)"}, "vc_formula['a'] holds a bar", "columns only"),
    ],
)
def test_translate_errors(re_formula, vc_formula, problem, hint):
    with pytest.raises(FormulaError) as caught:
        translate_statsmodels("y ~ x", "g", re_formula, vc_formula)
    assert problem in caught.value.problem
    assert hint in caught.value.hint


def test_translate_refuses_two_spellings():
    with pytest.raises(FormulaError, match="Use one spelling: leave out groups='h'") as caught:
        translate_statsmodels("y ~ x + (1 | g)", "h", None, None)
    assert caught.value.span == (8, 15)


@pytest.mark.parametrize(
    "groups, re_formula, vc_formula, message",
    [
        (3, None, None, "groups is the name of a column, not int"),
        ("g", 1, None, "re_formula is a string such as '~ x', not int"),
        ("g", None, "0 + C(f)", "vc_formula is a dict of strings"),
        ("g", None, {"a": 1}, "vc_formula is a dict of strings"),
    ],
)
def test_translate_types(groups, re_formula, vc_formula, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        translate_statsmodels("y ~ x", groups, re_formula, vc_formula)


# ------------------------------------------------------------------------------------- properties

# The machine may be busy, and a slow parse is no error.
no_deadline = settings(deadline=None)

EXPRESSIONS = [
    "x",
    "x*z",
    "I(a | b)",
    "bs(x, df=4)",
    "(x + z)**2",
    "Q('p | q ~ r')",
    "f:x",
    "x % 2",
]
FACTORS = ["g", "h", "C(k)", "Q('odd | name')", "d.site", "I(a | b)"]

fixed_parts = st.lists(st.sampled_from(EXPRESSIONS), max_size=3, unique=True)
groups = st.lists(st.sampled_from(FACTORS), min_size=1, max_size=3, unique=True).map(tuple)
lefts = st.sampled_from(["1", "0 + x", "x - 1", *EXPRESSIONS])
bars = st.sampled_from(["|", "||"])
random_parts = st.lists(
    st.tuples(lefts, bars, groups),
    min_size=1,
    max_size=4,
    unique_by=lambda part: (part[0], part[1], frozenset(part[2])),
)


@st.composite
def formulas(draw):
    """A formula with what it must be read as: text, fixed terms, random terms."""
    fixed, random = draw(fixed_parts), draw(random_parts)
    written = [f"({left} {bar} {':'.join(group)})" for left, bar, group in random]
    marked = [(term, True) for term in fixed] + [(term, False) for term in written]
    marked = draw(st.permutations(marked))
    text = "y ~ " + " + ".join(term for term, _ in marked)
    return text, [t for t, kept in marked if kept], [t for t, kept in marked if not kept]


def skeleton(formula: MixedFormula) -> tuple[object, ...]:
    """What a formula says, blind to white space."""
    said = (formula.response, formula.fixed, formula.offsets, terms(formula))
    return tuple(re.sub(r"\s", "", repr(part)) for part in said)


@no_deadline
@given(formulas())
def test_round_trip(case):
    text, fixed, random = case
    formula = parse_formula(text)
    assert formula.fixed == "y ~ " + (" + ".join(fixed) or "1")
    assert terms(formula) == random
    assert [text[slice(*term.span)] for term in formula.random] == random
    again = parse_formula(" + ".join([formula.fixed, *terms(formula)]))
    assert (again.fixed, terms(again)) == (formula.fixed, random)


@no_deadline
@given(formulas())
def test_fixed_part_has_no_random_term(case):
    fixed = parse_formula(case[0]).fixed
    assert parse_formula(fixed, allow_no_random=True).random == ()
    assert parse_formula(fixed, allow_no_random=True).fixed == fixed
    patsy.ModelDesc.from_formula(fixed)


@no_deadline
@given(formulas())
def test_spans_slice_the_written_pieces(case):
    for term in parse_formula(case[0]).random:
        assert case[0][slice(*term.expr_span)] == term.expr
        assert case[0][slice(*term.group_span)] == term.group_name


@no_deadline
@given(formulas(), st.data())
def test_white_space_is_irrelevant(case, data):
    pieces = re.findall(r"'[^']*'|\w+|\|\||\*\*|\S", case[0])
    blanks = st.text(" \t\r\n\u00a0", max_size=2)
    text = "".join(piece + data.draw(blanks) for piece in pieces)
    assert skeleton(parse_formula(text)) == skeleton(parse_formula(case[0]))


ALGEBRA = st.recursive(
    st.sampled_from(["a", "b", "c", "C(d)"]),
    lambda inner: st.builds("({}{}{})".format, inner, st.sampled_from("+:*/"), inner),
    max_leaves=5,
)


@no_deadline
@given(ALGEBRA)
@example("a/b:c")
def test_groups_follow_patsys_algebra(expression):
    ours = {frozenset(term.group) for term in parse_formula(f"y ~ (1 | {expression})").random}
    theirs = patsy.ModelDesc.from_formula(f"0 + {expression}").rhs_termlist
    assert ours == {frozenset(f.name() for f in term.factors) for term in theirs}


def only_formula_errors(text: str) -> None:
    try:
        formula = parse_formula(text)
    except FormulaError as error:
        assert str(error) and 0 <= error.span[0] <= error.span[1] <= max(len(text), 1)
        return
    assert formula.random
    for term in formula.random:
        assert text[slice(*term.span)].startswith("(") and text[slice(*term.span)].endswith(")")


PIECES = ["y", "~", "x", "g", "0", "1", "2.5", "+", "-", "*", "**", "/", ":", "|", "||", "(", ")"]
PIECES += ["[", "]", "{", "}", "'", '"', ",", ".", "^", "%in%", "%", "\n", " ", "I(", "offset("]
PIECES += [
    "(1|g)",
    "Q('a|b')",
    "y ~ ",
    "= ",
    "#",
    "`",
    "$",
    "lambda",
    "yield",
    "é",
    "²",
    "\\",
    "\0",
]


@no_deadline
@given(st.text())
@example("y ~ (1 | g)" + "\ud800")
@example("y ~ Q('\ud800') + (1 | g)")
@example("y ~ I(" + "-" * 9000 + "x) + (1 | g)")
@example("y ~ " + "-" * 2000 + "(1 | g)")
@example("y ~ x" + " + x" * 2000)
def test_any_text_gives_a_formula_or_a_formula_error(text):
    only_formula_errors(text)


@no_deadline
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_formula_like_text_gives_a_formula_or_a_formula_error(text):
    only_formula_errors(text)
    only_formula_errors("y ~ x + (" + text + ") + (1 | g)")
