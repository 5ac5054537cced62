"""Run independent pieces of work, in several processes and with a progress bar when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from mixedlm_ext.errors import FitError

Piece = TypeVar("Piece")
Done = TypeVar("Done")

__all__ = ["import_tqdm", "pieces", "run"]


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
        If n_jobs is no number of processes, or joblib or tqdm are needed and not installed.
    """
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer) or n_jobs == 0:
        raise FitError(f"n_jobs={n_jobs!r} is no number of processes. Pass 1, 2, ..., or -1.")
    done = map(task, work) if n_jobs == 1 else _parallel(task, work, n_jobs, progress)
    return list(_with_bar(done, sizes or [1] * len(work)) if progress else done)


def _parallel(
    task: Callable[[Piece], Done], work: Sequence[Piece], n_jobs: int, as_they_come: bool
) -> Iterable[Done]:
    """Run the pieces by joblib; results one by one only when asked, not all backends can."""
    try:
        import joblib
    except ImportError:
        raise FitError(
            "n_jobs needs joblib, which is not installed. Run pip install 'mixedlm_ext[parallel]', "
            "or leave n_jobs=1."
        ) from None
    how = "generator" if as_they_come else "list"
    out: Any = joblib.Parallel(n_jobs=n_jobs, return_as=how)(joblib.delayed(task)(w) for w in work)
    return out


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
