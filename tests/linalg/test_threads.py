"""Small work wakes no thread of the BLAS; the number of threads is what it was before."""

import os
import pickle
import threading

import numpy as np
import pytest

from mixedlm_ext.linalg import threads
from mixedlm_ext.linalg.blas import eigh, matmul
from mixedlm_ext.linalg.threads import ONE_THREAD, one_thread_for


class Library:
    """Threads of a BLAS that records what it was set to."""

    def __init__(self, threads: int) -> None:
        self.threads, self.log = threads, []

    def get(self) -> int:
        return self.threads

    def set(self, number: int) -> None:
        self.threads = number
        self.log.append(number)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    out = Library(4)
    monkeypatch.setattr(threads, "_library", lambda: out)
    return out


def test_contexts_within_one_another(library: Library) -> None:
    with ONE_THREAD:
        with one_thread_for(100):
            assert library.threads == 1
        assert library.threads == 1
    assert library.threads == 4
    assert library.log == [1, 4]


def test_number_is_given_back_after_an_error(library: Library) -> None:
    with pytest.raises(ZeroDivisionError), ONE_THREAD:
        raise ZeroDivisionError
    assert library.threads == 4


def test_last_of_several_threads_gives_it_back(library: Library) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with ONE_THREAD:
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with ONE_THREAD:
        thread.start()
        assert inside.wait(10)
    assert library.threads == 1
    leave.set()
    thread.join()
    assert library.threads == 4


def test_what_the_user_sets_between_stays(library: Library) -> None:
    with ONE_THREAD:
        pass
    library.set(1)
    with ONE_THREAD:
        assert library.threads == 1
    assert library.threads == 1


@pytest.mark.parametrize(("columns", "number"), [(8, 4), (63, 4), (64, 1), (1023, 1), (1024, 4)])
def test_size_decides(library: Library, columns: int, number: int) -> None:
    with one_thread_for(columns):
        assert library.threads == number


@pytest.mark.parametrize(("n", "log"), [(20, []), (100, [1, 4]), (500, [])])
def test_products_of_middling_size_wake_none(library: Library, n: int, log: list[int]) -> None:
    A = np.random.default_rng(0).standard_normal((n, n))
    np.testing.assert_allclose(matmul(A, A), A @ A, atol=1e-10)
    assert library.log == log


def test_eigenvalues_wake_none(library: Library) -> None:
    A = np.random.default_rng(0).standard_normal((80, 80))
    values, vectors = eigh(A + A.T)
    np.testing.assert_allclose((vectors * values) @ vectors.T, A + A.T, atol=1e-12)
    assert library.log == [1, 4]


def test_there_is_one_of_it() -> None:
    assert pickle.loads(pickle.dumps(ONE_THREAD)) is ONE_THREAD


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_library", lambda: None)
    with ONE_THREAD, one_thread_for(100):
        pass


@pytest.mark.skipif(threads._library() is None, reason="SciPy has another BLAS")
def test_library_of_scipy_is_found() -> None:
    library = threads._library()
    before = library.get()
    assert before >= 1
    library.set(2)
    try:
        with ONE_THREAD:
            assert library.get() == 1
        assert library.get() == 2
    finally:
        library.set(before)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_inside_has_its_threads(library: Library) -> None:
    with ONE_THREAD:
        child = os.fork()
        if not child:  # pragma: no cover
            os._exit(0 if library.threads == 4 and not ONE_THREAD._lock.locked() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert library.threads == 4
