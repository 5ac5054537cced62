"""What holds for the whole run of the tests: one thread of linear algebra, each example once."""

import os
import pydoc

import pytest
from _pytest.doctest import DoctestItem

# Matrices here are small. On a machine that is busy, threads of BLAS that wait for one another cost
# a hundred times what they gain. The libraries read these names when numpy is imported, later.
_THREADS = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
if not any(name in os.environ for name in _THREADS):
    os.environ.update(dict.fromkeys(_THREADS, "1"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the examples of functions that a class shows as its methods."""
    items[:] = [item for item in items if not shown_again(item)]


def shown_again(item: pytest.Item) -> bool:
    """Say whether an item holds the examples of a function that stands in another module."""
    if not isinstance(item, DoctestItem):
        return False
    function = getattr(pydoc.locate(item.dtest.name), "__wrapped__", None)
    return bool(function) and not item.dtest.name.startswith(f"{function.__module__}.")
