"""Run independent pieces of work, in several processes and with a progress bar when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from mixedlm_ext.errors import FitError, MixedLMError

Piece = TypeVar("Piece")
Done = TypeVar("Done")

__all__ = ["import_tqdm", "pieces", "run", "workers_in_words"]

_BACKENDS = ("distributed", "joblib", "concurrent.futures")
"""Modules whose errors are about workers, and not about what they do."""
_START_AGAIN = (
    "A worker may have run out of memory, or the cluster was closed. Start it again and repeat the "
    "call, with fewer n_jobs if memory is short; n_jobs=1 runs in this process."
)


def pieces(total: int, size: int) -> list[slice]:
    """Cut range(total) into slices of at most `size`."""
    return [slice(i, min(i + size, total)) for i in range(0, total, size)]


def run(
    task: Callable[[Piece], Done],
    work: Sequence[Piece],
    n_jobs: int = 1,
    progress: bool = False,
    sizes: Sequence[int] | None = None,
) -> list[Done]:
    """Return the results of `task` for each piece of work, in order.

    Parameters
    ----------
    task : callable
    work : sequence
    n_jobs : int
        Processes, as joblib counts them (-1: one for each core). The backend is joblib's, so
        ``joblib.parallel_config`` chooses another, such as Dask or Ray.
    progress : bool
        Show a bar (tqdm).
    sizes : sequence of int, optional
        How much each piece adds to the bar; 1 by default.

    Raises
    ------
    FitError
        If n_jobs is no number of processes, joblib or tqdm are needed and not installed, or workers
        are lost on the way.
    """
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer) or n_jobs == 0:
        raise FitError(f"n_jobs={n_jobs!r} is no number of processes. Pass 1, 2, ..., or -1.")
    done = map(task, work) if n_jobs == 1 else _parallel(task, work, n_jobs, progress)
    return list(_with_bar(done, sizes or [1] * len(work)) if progress else done)


def _parallel(
    task: Callable[[Piece], Done], work: Sequence[Piece], n_jobs: int, as_they_come: bool
) -> Iterator[Done]:
    """Run the pieces by joblib; results one by one only when asked, not all backends can."""
    try:
        import joblib
    except ImportError:
        raise FitError(
            "n_jobs needs joblib, which is not installed. Run pip install 'mixedlm_ext[parallel]', "
            "or leave n_jobs=1."
        ) from None
    try:
        joblib.effective_n_jobs(n_jobs)
    except Exception as error:  # each backend asks its workers in its own way
        raise FitError(
            f"joblib's backend has no workers ({type(error).__name__}: {error}). {_START_AGAIN}"
        ) from error
    how = "generator" if as_they_come else "list"
    with workers_in_words(FitError, _START_AGAIN):
        yield from joblib.Parallel(n_jobs=n_jobs, return_as=how)(
            joblib.delayed(task)(w) for w in work
        )


@contextmanager
def workers_in_words(kind: type[MixedLMError], way_out: str) -> Iterator[None]:
    """Say that workers were lost, whatever their backend raises; other errors stay what they are.

    Parameters
    ----------
    kind : type
        Of the error raised in place of the backend's.
    way_out : str
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(_BACKENDS):
            raise
        what = (str(error).splitlines() or [""])[0]
        raise kind(
            f"the workers were lost on the way ({type(error).__name__}: {what}). {way_out}"
        ) from error


def _with_bar(done: Iterable[Done], sizes: Sequence[int]) -> Iterable[Done]:
    """Pass results on and move a bar."""
    tqdm = import_tqdm()
    with tqdm(total=sum(sizes)) as bar:
        for result, size in zip(done, sizes):
            bar.update(size)
            yield result


def import_tqdm() -> Any:
    """Return tqdm's bar.

    Raises
    ------
    FitError
        If tqdm is not installed.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise FitError(
            "progress=True needs tqdm, which is not installed. Run pip install "
            "'mixedlm_ext[progress]', or leave it out."
        ) from None
    return tqdm
