"""Pedigrees: relationships by the tabular method, however the lines are written."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext import pedigree
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.errors import DesignError, DesignWarning

Array = np.ndarray


def tabular(parents: list[tuple[int, int]]) -> Array:
    """A by the tabular method (Emik & Terrill 1949); parents stand before their offspring."""
    n = len(parents)
    A = np.zeros((n, n))
    for i, (s, d) in enumerate(parents):
        known = [p for p in (s, d) if p >= 0]
        for j in range(i):
            A[i, j] = A[j, i] = 0.5 * sum(A[j, p] for p in known)
        A[i, i] = 1.0 + (0.5 * A[s, d] if s >= 0 and d >= 0 else 0.0)
    return A


def relationships(known: KnownMatrix) -> Array:
    return known.times(np.eye(len(known)))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_relationships_are_those_of_the_tabular_method(data: st.DataObject) -> None:
    """Unknown parents, selfing, overlapping generations, lines in any order."""
    n = data.draw(st.integers(2, 25))
    parents = [
        tuple(data.draw(st.integers(-1, i - 1)) for _ in range(2)) if i else (-1, -1)
        for i in range(n)
    ]
    order = data.draw(st.permutations(range(n)))
    name = [f"a{i:02d}" for i in range(n)] + [None]
    frame = pd.DataFrame(
        {"id": [name[i] for i in order],
         "sire": [name[parents[i][0]] for i in order],
         "dam": [name[parents[i][1]] for i in order]}
    )  # fmt: skip
    known = pedigree(frame, "id", "sire", "dam")
    A = tabular(parents)  # type: ignore[arg-type]
    at = [int(label[1:]) for label in known.labels]
    assert_allclose(relationships(known), A[np.ix_(at, at)], atol=1e-12)
    assert_allclose(known.diagonal, np.diag(A)[at], atol=1e-12)
    assert known.precision is not None
    assert_allclose(known.precision.Q.toarray() @ A[np.ix_(at, at)], np.eye(n), atol=1e-10)
    assert_allclose(-known.precision.logdet, np.linalg.slogdet(A)[1], atol=1e-9)
    R = known.from_independent(np.eye(n))
    assert_allclose(R @ R.T, A[np.ix_(at, at)], atol=1e-12)
    again = pickle.loads(pickle.dumps(known))
    assert_allclose(relationships(again), relationships(known), rtol=0, atol=1e-14)


def three(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("ids", "sires", "dams"),
    [
        (["a", "b", "c"], [None, None, "a"], [None, None, "b"]),
        (["a", "b", "c"], ["0", ".", "a"], ["", "NA", "b"]),
        ([1, 2, 3], [0, 0, 1], [0, 0, 2]),
        ([1, 2, 3], [np.nan, np.nan, 1.0], [np.nan, np.nan, 2.0]),
        (["1", "2", "3"], [None, None, 1], [None, None, 2]),
        ([1, 2, 3], [None, None, "1"], [None, None, "2"]),
        ([3], [1], [2]),
        ([3], [1.0], ["2"]),
    ],
)
def test_spellings_of_parents(ids: list[Any], sires: list[Any], dams: list[Any]) -> None:
    """Unknown parents in the words of breeders, keys of another type, parents without a line."""
    known = pedigree(three(id=ids, sire=sires, dam=dams), "id", "sire", "dam")
    assert len(known) == 3
    assert {type(label) for label in known.labels.tolist()} == {type(ids[0])}
    assert_allclose(sorted(relationships(known).sum(axis=0)), [1.5, 1.5, 2.0])


def test_an_animal_of_the_name_zero_is_an_animal() -> None:
    known = pedigree(three(id=[0, 1], sire=[None, 0], dam=[None, None]), "id", "sire", "dam")
    assert_allclose(relationships(known), [[1.0, 0.5], [0.5, 1.0]])


def test_a_dict_is_a_pedigree() -> None:
    known = pedigree({"i": ["x"], "s": ["y"], "d": [None]}, "i", "s", "d")
    assert list(known.labels) == ["x", "y"] and known.labels.name == "i"
    assert repr(known) == "<KnownMatrix of 2 levels, by its precision>"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "a"], "sire": [None] * 2, "dam": [None] * 2}, "'a' has 2 lines"),
        ({"id": ["a", None], "sire": [None] * 2, "dam": [None] * 2}, "no animal at row 1"),
        (
            {"id": ["a", "b"], "sire": ["b", "a"], "dam": [None] * 2},
            r"in a circle.*'[ab]' <- '[ab]'",
        ),
        ({"id": ["a"], "sire": ["a"], "dam": [None]}, "'a' is its own parent"),
        ({"id": ["a"], "sire": [None]}, "dam column 'dam' is not in the data"),
        ({"id": [1, 2], "sire": [None, "x"], "dam": [None] * 2}, "cannot be one of the animals"),
    ],
)
def test_bad_pedigrees_are_refused_in_words(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        pedigree(pd.DataFrame(columns), "id", "sire", "dam")


def test_a_long_line_of_selfing_has_inbreeding_near_one() -> None:
    def line(n: int) -> pd.DataFrame:
        return three(id=range(1, n + 1), sire=range(n), dam=range(n))

    known = pedigree(line(30), "id", "sire", "dam")
    assert known.diagonal is not None
    assert_allclose(known.diagonal - 1.0, 1.0 - 0.5 ** np.arange(30), atol=1e-14)
    with pytest.raises(DesignError, match="wholly inbred parents and is their copy"):
        pedigree(line(400), "id", "sire", "dam")


@pytest.mark.parametrize(
    "unknown",
    [" ", "nan", "NaN", "None", "null", "*", "-", "?", "unknown", "Unknown", "0.0", "<NA>"],
)
def test_texts_for_an_unknown_parent(unknown: str) -> None:
    """One founder in the place of all unknown parents would make half of the animals relatives."""
    sires, dams = [unknown, unknown, "a", "a"], [unknown, unknown, "b", unknown]
    lines = {"id": list("abcd"), "sire": sires, "dam": dams}
    found = pedigree(pd.DataFrame(lines), "id", "sire", "dam")
    assert list(found.labels) == list("abcd")
    assert_allclose(relationships(found), tabular([(-1, -1), (-1, -1), (0, 1), (0, -1)]))


def test_an_animal_may_have_such_a_name() -> None:
    lines = {"id": ["?", "b", "c"], "sire": [None, None, "?"], "dam": [None, None, "b"]}
    found = pedigree(pd.DataFrame(lines), "id", "sire", "dam")
    assert_allclose(relationships(found)[:, 0], [1.0, 0.0, 0.5])


@pytest.mark.parametrize("unknown", [-1, -9.0])
def test_a_number_for_unknown_parents_is_warned_of(unknown: float) -> None:
    lines = {"id": [1, 2, 3], "sire": [unknown, unknown, 1], "dam": [unknown, unknown, 2]}
    with pytest.warns(DesignWarning, match=r"-\d has no line .* as sire and as dam: it is taken"):
        pedigree(pd.DataFrame(lines), "id", "sire", "dam")
