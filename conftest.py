"""Examples run once, where they stand: not again under the name of a method that shows them."""

import pydoc

import pytest
from _pytest.doctest import DoctestItem


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the examples of functions that a class shows as its methods."""
    items[:] = [item for item in items if not shown_again(item)]


def shown_again(item: pytest.Item) -> bool:
    """Say whether an item holds the examples of a function that stands in another module."""
    if not isinstance(item, DoctestItem):
        return False
    function = getattr(pydoc.locate(item.dtest.name), "__wrapped__", None)
    return bool(function) and not item.dtest.name.startswith(f"{function.__module__}.")
