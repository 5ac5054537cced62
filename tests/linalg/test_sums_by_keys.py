"""Sorting of keys, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from mixedlm_ext.linalg.keys import distinct_rows, sorted_keys


@pytest.mark.parametrize("n", [0, 1, 2, 1023, 1024, 5000])
@pytest.mark.parametrize("most", [1, 40, 1 << 30, 1 << 52, (1 << 62) + 5])
def test_keys_and_the_places_that_they_had(n: int, most: int) -> None:
    """Also where a key and its place do not fit into one number."""
    keys = np.random.default_rng(n).integers(0, most, n)
    found, places = sorted_keys(keys)
    np.testing.assert_array_equal(places, np.argsort(keys, kind="stable"))
    np.testing.assert_array_equal(found, np.sort(keys))


@pytest.mark.parametrize("shape", [(0, 2), (1, 0), (5, 0), (300, 1), (300, 3)])
@pytest.mark.parametrize("dtype", [float, np.intp])
def test_distinct_rows_are_those_of_numpy(shape: tuple[int, int], dtype: type) -> None:
    table = np.random.default_rng(0).integers(-3, 4, shape).astype(dtype)
    rows, numbers = distinct_rows(table)
    assert (rows[numbers] == table).all()
    if shape[0] and shape[1]:
        expected, inverse = np.unique(table, axis=0, return_inverse=True)
        assert (rows == expected).all()
        assert (numbers == inverse.ravel()).all()
    else:
        assert len(rows) == min(shape[0], 1)
