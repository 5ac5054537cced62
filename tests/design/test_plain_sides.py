"""Sides of numeric columns are built without patsy: everything is as patsy would have it."""

import pickle

import numpy as np
import pandas as pd
import patsy
import pytest

from mixedlm_ext.design.formula_code import read_formula
from mixedlm_ext.design.frame import evaluation_columns
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.plain_sides import plain_side
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.language.parser import parse_formula

N = 12
RNG = np.random.default_rng(3)
DATA = pd.DataFrame(
    {
        "y": RNG.standard_normal(N),
        "x": RNG.standard_normal(N),
        "z": np.arange(N),
        "small": np.arange(N, dtype=np.uint8),
        "half": RNG.standard_normal(N).astype(np.float32),
        "truth": np.arange(N) % 2 == 0,
        "f": list("abcabcabcabc"),
        "my x": RNG.standard_normal(N),
        "g": list("aaabbbcccddd"),
    }
)
PLAIN = ["1", "0 + x", "x", "z + x", "x + 1", "x + z + small + half", "Q('my x') + x", "x - 1"]
OTHERS = [
    "f",
    "truth",
    "x + f",
    "x:z",
    "x*z",
    "np.exp(x)",
    "I(x)",
    "center(x)",
    "C(z)",
    "x + log(z)",
]


def side_of(text: str) -> tuple[patsy.ModelDesc, dict]:
    formula = parse_formula(f"y ~ {text} + (1 | g)")
    uses = dict.fromkeys(set(DATA) - {"g", "f"}, "array") | {"f": "factor"}
    return read_formula(formula).fixed, evaluation_columns(DATA, uses)[0]


def by_patsy(text: str) -> tuple[patsy.DesignInfo, np.ndarray]:
    matrix = patsy.dmatrix(text, DATA)
    return matrix.design_info, np.asarray(matrix)


@pytest.mark.parametrize("text", PLAIN)
def test_matrix_and_description_are_those_of_patsy(text: str) -> None:
    side, data = side_of(text)
    plain = plain_side(side, data)
    assert plain is not None
    info, matrix = by_patsy(text)
    np.testing.assert_array_equal(plain.build(data, N), matrix)
    assert plain.build(data, N).dtype == np.float64
    own = plain.memory().info(Scope({"np": np}))
    assert plain.names == tuple(info.column_names) == tuple(own.column_names)
    assert own.term_names == info.term_names
    assert own.term_name_slices == info.term_name_slices
    assert own.terms == info.terms and own.describe() == info.describe()
    assert list(own.factor_infos) == list(info.factor_infos)
    for factor, about in info.factor_infos.items():
        mine = own.factor_infos[factor]
        assert (mine.type, mine.num_columns, mine.categories) == (
            about.type,
            about.num_columns,
            None,
        )
        assert mine.state["transforms"] == about.state["transforms"] == {}
        assert mine.state["eval_code"] == about.state["eval_code"]
    for term, subterms in info.term_codings.items():
        (mine,), (theirs,) = own.term_codings[term], subterms
        assert (mine.factors, mine.num_columns) == (theirs.factors, theirs.num_columns)
        assert mine.contrast_matrices == theirs.contrast_matrices == {}
    (again,) = patsy.build_design_matrices([own], DATA)
    np.testing.assert_array_equal(np.broadcast_to(again, matrix.shape), matrix)


@pytest.mark.parametrize("text", OTHERS)
def test_patsy_reads_everything_else(text: str) -> None:
    side, data = side_of(text)
    assert plain_side(side, data) is None


@pytest.mark.parametrize("fixed", ["x + z", "x + f"])
def test_descriptions_survive_their_data(fixed: str) -> None:
    """Whether all sides are plain or some, memory and pickles give the same matrices again."""
    formula = parse_formula(f"y ~ {fixed} + (x | g)")
    scope = Scope({})
    matrices = FormulaMatrices(formula, DATA, scope)
    whole = matrices.build(matrices.training_data(), N, range(matrices.n_sides))
    memory = pickle.loads(pickle.dumps(matrices.memory()))
    again = FormulaMatrices.from_memory(formula, memory, scope)
    assert [again.names(i) for i in range(2)] == [matrices.names(i) for i in range(2)]
    prepared = again.new_data(DATA, again.pieces("fixed") + again.pieces("left"))
    for one, other in zip(whole, again.build(prepared, N, range(again.n_sides)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [i.column_names for i in matrices.infos] == [i.column_names for i in again.infos]
    assert matrices.without_columns(1) == again.without_columns(1) == []
