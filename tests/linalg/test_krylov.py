"""Conjugate gradients and logarithms by Lanczos' iteration, against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext.linalg.krylov import NotConverged, conjugate_gradients, logarithms

Array = np.ndarray


def matrix(n: int, smallest: float, seed: int = 0) -> Array:
    """Positive definite, eigenvalues from `smallest` to 2."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    values = np.concatenate([[smallest], rng.uniform(0.4, 2.0, n - 1)])
    return (Q * values) @ Q.T


def function_of(C: Array, f: object) -> Array:
    values, U = np.linalg.eigh(C)
    return (U * f(values)) @ U.T  # type: ignore[operator]


def shown(values: Array) -> Array:
    return np.log(values) - values + 1.0


@pytest.mark.parametrize("smallest", [0.3, 1e-3])
def test_conjugate_gradients(smallest: float) -> None:
    C = matrix(50, smallest)
    B = np.random.default_rng(1).standard_normal((50, 4)) * [1e-8, 1.0, 1e8, 0.0]
    assert_allclose(
        conjugate_gradients(lambda x: C @ x, B, 1e-13), np.linalg.solve(C, B), rtol=1e-6
    )
    assert not conjugate_gradients(lambda x: C @ x, B[:, 3:]).any()


def test_too_few_steps() -> None:
    C = matrix(50, 1e-3)
    z = np.ones((50, 1))
    with pytest.raises(NotConverged):
        conjugate_gradients(lambda x: C @ x, z, limit=3)
    with pytest.raises(NotConverged):
        logarithms(lambda x: C @ x, z, limit=3)


@pytest.mark.parametrize("smallest", [0.3, 1e-4])
def test_logarithms_and_their_derivative(smallest: float) -> None:
    C, dC = matrix(40, smallest), matrix(40, 0.1, seed=2)
    Z = np.random.default_rng(3).standard_normal((40, 3))
    found = logarithms(lambda x: C @ x, Z)
    assert_allclose(found.values, np.diag(Z.T @ function_of(C, shown) @ Z), rtol=1e-10)
    h = 1e-6 * smallest
    ahead, back = (np.diag(Z.T @ function_of(C + s * dC, shown) @ Z) for s in (h, -h))
    Y = found.directions()
    derivative = np.einsum("ncr,nm,mcr,cr->c", Y, dC, Y, found.signs)
    assert_allclose(derivative, (ahead - back) / (2.0 * h), rtol=1e-5)


def test_vectors_in_small_invariant_subspaces() -> None:
    """The identity, a zero vector, and one that needs two steps beside one that needs many."""
    Z = np.random.default_rng(4).standard_normal((30, 2))
    assert_allclose(logarithms(lambda x: x, Z).values, 0.0, atol=1e-12)
    C = matrix(30, 0.2)
    _, U = np.linalg.eigh(C)
    Z = np.column_stack([np.zeros(30), U[:, 3] + U[:, 7], Z[:, 0]])
    found = logarithms(lambda x: C @ x, Z)
    assert_allclose(found.values, np.diag(Z.T @ function_of(C, shown) @ Z), rtol=1e-9)
