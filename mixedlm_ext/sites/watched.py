"""Tasks of Dask with a bar of those that are done, on this machine or on a cluster."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from typing import Any

from mixedlm_ext.errors import DataError
from mixedlm_ext.parallel import import_tqdm, workers_in_words
from mixedlm_ext.sources.dask import START_AGAIN

__all__ = ["compute"]

_SECONDS = 0.2
"""Between two looks at the scheduler of a cluster."""
_OPEN = frozenset({"waiting", "queued", "no-worker", "processing"})
"""States in which a scheduler has tasks that are not done, or are to be done again."""


def compute(wanted: Sequence[Any], own: Sequence[Any], progress: bool, what: str) -> list[Any]:
    """Return what some delayed objects compute.

    Parameters
    ----------
    wanted : sequence of Delayed
    own : sequence of Delayed
        Those that the bar counts: `wanted`, and what they are made of.
    progress : bool
        Show a bar (tqdm).
    what : str
        What the tasks do, before the bar.

    Raises
    ------
    DataError
        If the workers are lost, not one of them but all that try.
    """
    with workers_in_words(DataError, START_AGAIN):
        return _computed(wanted, own, progress, what)


def _computed(wanted: Sequence[Any], own: Sequence[Any], progress: bool, what: str) -> list[Any]:
    """Compute, with a bar or without."""
    dask: Any = importlib.import_module("dask")
    if not progress:
        return list(dask.compute(*wanted))
    keys = [task.key for task in own]
    with import_tqdm()(total=len(keys), desc=what, unit=" tasks") as bar:
        client = _client()
        if client is not None:
            return _on_cluster(client, wanted, keys, bar)
        counted = frozenset(keys)
        callbacks: Any = importlib.import_module("dask.callbacks")
        with callbacks.Callback(posttask=lambda key, *_: bar.update(int(key in counted))):
            return list(dask.compute(*wanted))


def _client() -> Any:
    """Return the client of the cluster that computes; None where this process does."""
    base: Any = importlib.import_module("dask.base")
    owner = getattr(base.get_scheduler(), "__self__", None)
    return owner if type(owner).__module__.startswith("distributed") else None


def _on_cluster(client: Any, wanted: Sequence[Any], keys: Collection[str], bar: Any) -> list[Any]:
    """Wait for the cluster; the bar goes back where a lost worker's tasks are done anew."""
    distributed: Any = importlib.import_module("distributed")
    futures = client.compute(list(wanted))
    while True:
        try:
            distributed.wait(futures, timeout=_SECONDS)
            break
        except distributed.TimeoutError:
            bar.update(client.run_on_scheduler(_done, keys=list(keys)) - bar.n)
    out: list[Any] = client.gather(futures)
    bar.update(len(keys) - bar.n)
    return out


def _done(keys: Collection[str], dask_scheduler: Any = None) -> int:
    """Count, on the scheduler, the tasks that are done; it forgets those that nobody needs."""
    tasks = dask_scheduler.tasks
    return sum(key not in tasks or tasks[key].state not in _OPEN for key in keys)
