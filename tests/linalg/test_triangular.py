"""Triangular solves: right for every shape, and without threads that spin."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import scipy
import scipy.linalg
from packaging.version import Version

from mixedlm_ext.linalg.triangular import solve_triangular, solve_upper


@pytest.mark.parametrize("columns", [1, 7, 60, 1500, 120_000])
@pytest.mark.parametrize("n", [1, 2, 40])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("lower", "transpose"), [(True, False), (True, True), (False, True)])
def test_solves_of_all_shapes(n, columns, order, lower, transpose) -> None:
    if n * columns > 250_000:
        columns = 6000  # beyond what is done a few columns at a time, as the widest ones
    rng = np.random.default_rng(n + columns)
    square = rng.standard_normal((n, n)) + 3.0 * np.sqrt(n) * np.eye(n)
    A = np.tril(square) if lower else np.triu(square)
    B = np.array(rng.standard_normal((n, columns)), order=order)
    kept = B.copy()
    found = solve_triangular(A, B, lower, transpose)
    expected = scipy.linalg.solve_triangular(A, B, trans=int(transpose), lower=lower)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert (kept == B).all()
    overwritten = solve_triangular(A, B, lower, transpose, overwrite=True)
    np.testing.assert_array_equal(overwritten, found)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 0)])
def test_vectors_and_no_columns(shape) -> None:
    R = np.triu(np.arange(1.0, 10.0).reshape(3, 3))
    c = np.random.default_rng(1).standard_normal(shape)
    np.testing.assert_allclose(R @ solve_upper(R, c), c, atol=1e-12)
    np.testing.assert_allclose(R.T @ solve_upper(R, c, transpose=True), c, atol=1e-12)
    assert solve_upper(np.zeros((0, 0)), np.zeros(0)).shape == (0,)


_SPINNING = textwrap.dedent(
    """
    import time
    from mixedlm_ext import MixedLM, datasets

    def fit(formula, name):
        data = getattr(datasets, name).load_pandas().data
        MixedLM.from_formula(formula, data).fit()

    models = [
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin"),
        ("angle ~ recipe * temperature + (1 | replicate/recipe)", "cake"),
    ]
    for model in models:
        fit(*model)
        time.sleep(0.2)
        own, every = time.thread_time(), time.process_time()
        for _ in range(5):
            fit(*model)
        own = time.thread_time() - own
        time.sleep(0.2)  # a thread that was woken spins on
        print(own, time.process_time() - every - own)
    """
)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="BLAS has no second thread to wake")
@pytest.mark.skipif(
    Version(scipy.__version__) < Version("1.15"), reason="its OpenBLAS wakes threads elsewhere too"
)
def test_small_fits_wake_no_threads() -> None:
    """A thread of OpenBLAS that is woken spins for some 0.1 s, and takes the core of another."""
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    done = subprocess.run(
        [sys.executable, "-c", _SPINNING],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        own, others = map(float, line.split())
        assert others < 0.1 * own + 0.01
