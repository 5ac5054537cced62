"""Products of matrices with few columns, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from mixedlm_ext.linalg.blas import narrow_gram, narrow_product


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("k", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("n", [0, 1, 7, 3000])
def test_narrow_matrices(n: int, k: int, order: str) -> None:
    rng = np.random.default_rng(3)
    X = np.array(rng.standard_normal((n, k)), order=order)
    for C in (np.triu(rng.standard_normal((k, k))), rng.standard_normal((k, 2)), np.zeros((k, 1))):
        np.testing.assert_allclose(narrow_product(X, C), X @ C, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(narrow_gram(X), X.T @ X, rtol=1e-12, atol=1e-12)
