"""A cached property that takes no lock.

Before Python 3.12 that of `functools` holds one lock for all instances of a class while it
computes. A process that forks while another of its threads computes then hands a lock to the child
that nobody there ever releases, and fits of several threads wait for one another.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property
else:
    from collections.abc import Callable
    from typing import Any

    class cached_property:
        """Computed when first asked for, then an entry of the instance's ``__dict__``.

        Two threads that ask at once may both compute it; one of the equal values stays.
        """

        def __init__(self, func: Callable[[Any], Any]) -> None:
            self.func = func
            self.attrname = func.__name__
            self.__doc__ = func.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self.attrname = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            value = self.func(instance)
            # the first value stays, so that all threads share one
            return instance.__dict__.setdefault(self.attrname, value)


__all__ = ["cached_property"]
