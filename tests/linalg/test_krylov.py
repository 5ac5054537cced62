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


def test_more_steps_than_rows_are_not_taken() -> None:
    """Rounding makes of n steps many times n where many small eigenvalues are close together."""
    n = 120
    rng = np.random.default_rng(5)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    values = np.concatenate([np.geomspace(1e-6, 1e-5, 40), rng.uniform(0.1, 5.0, n - 40)])
    C = (Q * values) @ Q.T
    C = 0.5 * (C + C.T)
    B = np.column_stack([rng.standard_normal((n, 3)), C[:, 0]])
    taken = []

    def apply(x: Array) -> Array:
        taken.append(x.shape[1])
        return np.asarray(C @ x)

    X = conjugate_gradients(apply, B, 1e-12)
    assert len(taken) <= n + n // 3
    expected = (Q / values) @ Q.T @ B
    size = np.abs(expected).max(axis=0)
    assert_allclose(X / size, expected / size, rtol=0, atol=1e-8)  # some digits of the condition
    with pytest.raises(NotConverged):  # what is too large to be formed is refused
        conjugate_gradients(apply, B, 1e-12, limit=n - 1)


@pytest.mark.parametrize("least", [-1e-3, 0.0, np.nan])
def test_what_is_not_positive_definite_is_refused(least: float) -> None:
    """Along a step's direction (no solution of NaN is given for one), or where it is formed."""
    with pytest.raises(NotConverged):
        conjugate_gradients(lambda x: least * x, np.ones((3, 1)))
    C = np.diag([2.0, 1.0, least])
    with pytest.raises(NotConverged):
        conjugate_gradients(lambda x: C @ x, np.array([[1.0], [1.0], [1e-3]]), 1e-15)


def test_sizes_of_right_sides() -> None:
    """A factor that squares do not hold changes nothing; what is no number has no solution."""
    C = matrix(50, 0.3)
    b = np.random.default_rng(6).standard_normal((50, 1))
    expected = np.linalg.solve(C, b)
    for size in (1e-250, 1e-160, 1e200):
        X = conjugate_gradients(lambda x: C @ x, size * b, 1e-13)
        assert_allclose(X / size, expected, rtol=0, atol=1e-11)
    B = np.column_stack([b, np.where(np.arange(50)[:, None] == 7, [np.nan, np.inf], b)])
    X = conjugate_gradients(lambda x: C @ x, B, 1e-13)
    assert_allclose(X[:, :1], expected, rtol=0, atol=1e-11)
    assert np.isnan(X[:, 1:]).all()
    assert conjugate_gradients(lambda x: C @ x, B[:, :0]).shape == (50, 0)


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
