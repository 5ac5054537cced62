"""Sides of columns and their products are built without patsy: everything is as patsy has it."""

import pickle
from itertools import combinations

import numpy as np
import pandas as pd
import patsy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedlm_ext import DesignError, MixedLM
from mixedlm_ext.design.factor_sides import factor_side
from mixedlm_ext.design.formula_code import read_formula
from mixedlm_ext.design.frame import evaluation_columns
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.language.parser import parse_formula

N = 24
RNG = np.random.default_rng(5)
DATA = pd.DataFrame(
    {
        "y": RNG.standard_normal(N),
        "x": RNG.standard_normal(N),
        "z": np.arange(N),
        "truth": np.arange(N) % 2 == 0,
        "f": list("abc") * 8,
        "g": pd.Categorical(list("vuvuuv") * 4, ["v", "u", "w"]),
        "days": pd.Categorical(np.arange(N) % 4, [0, 1, 2, 3], ordered=True),
        "halves": pd.Categorical((np.arange(N) % 4) / 1.0),
        "one": ["only"] * N,
        "my f": list("qr") * 12,
        "s": np.repeat(list("klmn"), 6),
    }
)
ATOMS = ["x", "z", "f", "g", "days", "Q('my f')"]
TERMS = [":".join(c) for size in (1, 2, 3) for c in combinations(ATOMS, size)]


def side_of(text: str) -> tuple[patsy.ModelDesc, dict]:
    formula = parse_formula(f"y ~ {text} + (1 | s)")
    uses = dict.fromkeys(set(DATA) - {"s"}, "array")
    return read_formula(formula).fixed, evaluation_columns(DATA, uses)[0]


def check_side(text: str) -> None:
    side, data = side_of(text)
    own = factor_side(side, data)
    assert own is not None
    matrix = patsy.dmatrix(text, DATA.assign(g=DATA["g"].cat.remove_unused_categories()))
    info = matrix.design_info
    np.testing.assert_array_equal(own.build(data, N), np.asarray(matrix))
    assert own.names == tuple(info.column_names)
    again = own.memory().info(Scope())
    assert again.term_name_slices == info.term_name_slices
    assert again.terms == info.terms and again.describe() == info.describe()
    for factor, about in info.factor_infos.items():
        mine = again.factor_infos[factor]
        assert (mine.type, mine.num_columns) == (about.type, about.num_columns)
        assert mine.categories == about.categories
        assert list(map(type, mine.categories or ())) == list(map(type, about.categories or ()))
    np.testing.assert_array_equal(patsy.build_design_matrices([again], data)[0], matrix)


@pytest.mark.parametrize(
    "text",
    ["f", "0 + f", "f*g", "f/g", "0 + f:g", "x*f", "x:z", "f*g*days", "halves", "days + halves"],
)
def test_matrix_and_description_are_those_of_patsy(text: str) -> None:
    check_side(text)


@given(st.lists(st.sampled_from(TERMS), min_size=1, max_size=4, unique=True), st.sampled_from("01"))
@settings(max_examples=60, deadline=None)
def test_any_terms_are_those_of_patsy(terms: list[str], constant: str) -> None:
    check_side(" + ".join([constant, *terms]))


def test_equal_categories_of_other_types_have_names_of_their_own() -> None:
    assert factor_side(*side_of("days")).names[1:] == ("days[T.1]", "days[T.2]", "days[T.3]")
    assert factor_side(*side_of("halves")).names[1] == "halves[T.1.0]"


@pytest.mark.parametrize("text", ["truth", "f + truth", "C(f)", "f:np.exp(x)", "center(x) + f"])
def test_patsy_reads_everything_else(text: str) -> None:
    assert factor_side(*side_of(text)) is None


def test_many_levels_are_left_to_patsy() -> None:
    side, data = side_of("f")
    many = pd.Categorical([f"{i:03}" for i in range(300)])
    assert factor_side(side, {**data, "f": many}) is None


def test_terms_without_columns_are_named() -> None:
    matrices = FormulaMatrices(parse_formula("y ~ one + x + (1 | s)"), DATA, Scope())
    assert matrices.without_columns(0) == ["one"]
    with pytest.raises(DesignError, match="'one' in the random term"):
        MixedLM.from_formula("y ~ x + (x + one | s)", DATA)


def test_coding_survives_its_data() -> None:
    formula, scope = parse_formula("y ~ f*g + x + (0 + g | s)"), Scope()
    matrices = FormulaMatrices(formula, DATA, scope)
    whole = matrices.build(matrices.training_data(), N, range(2))
    memory = pickle.loads(pickle.dumps(matrices.memory()))
    again = FormulaMatrices.from_memory(formula, memory, scope)
    prepared = again.new_data(DATA, again.pieces("fixed") + again.pieces("left"))
    for one, other in zip(whole, again.build(prepared, N, range(2)), strict=True):
        np.testing.assert_array_equal(one, other)
