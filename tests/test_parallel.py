"""Work in several processes, and what is said when they are lost."""

from __future__ import annotations

import os

import pytest

from mixedlm_ext.errors import FitError
from mixedlm_ext.parallel import run, workers_in_words

pytest.importorskip("joblib")


def ending(number: int) -> int:
    os._exit(1)


def failing(number: int) -> int:
    raise KeyError(number)


@pytest.mark.slow
@pytest.mark.parametrize("progress", [False, True])
def test_a_process_that_ends(progress: bool) -> None:
    with pytest.raises(FitError, match=r"workers were lost .*Terminated.* fewer n_jobs"):
        run(ending, [1, 2], n_jobs=2, progress=progress)


@pytest.mark.slow
def test_errors_of_the_work_itself() -> None:
    with pytest.raises(KeyError):
        run(failing, [1, 2], n_jobs=2)


def test_errors_of_others_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), workers_in_words(FitError, "Try again."):
        raise ZeroDivisionError
