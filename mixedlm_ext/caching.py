"""Cached properties that take no lock: of one instance, or shared by copies of a record.

Before Python 3.12 that of `functools` holds one lock for all instances of a class while it
computes. A process that forks while another of its threads computes then hands a lock to the child
that nobody there ever releases, and fits of several threads wait for one another. From 3.12 on it
has none, and threads that compute at once each keep a value of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from functools import cached_property
else:

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


T = TypeVar("T")

__all__ = ["cached_property", "shared_property"]


class shared_property(Generic[T]):
    """Computed when first asked for, then an entry of the dict ``shared`` of the record.

    A copy by `dataclasses.replace` has a dict of its own, as it may have other fields. What makes a
    copy in which nothing changes that the properties depend on hands the entries on.

    Examples
    --------
    >>> from dataclasses import dataclass, field, replace
    >>> @dataclass(frozen=True)
    ... class Square:
    ...     side: float
    ...     label: str
    ...     shared: dict = field(default_factory=dict, init=False, repr=False)
    ...     @shared_property
    ...     def area(self):
    ...         print("computed")
    ...         return self.side**2
    ...     def relabelled(self, label):
    ...         other = replace(self, label=label)
    ...         other.shared.update(self.shared)
    ...         return other
    >>> one = Square(2.0, "one")
    >>> one.area, one.relabelled("other").area
    computed
    (4.0, 4.0)
    >>> replace(one, side=3.0).area
    computed
    9.0
    """

    def __init__(self, func: Callable[[Any], T]) -> None:
        self.func = func
        self.__doc__ = func.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        if self.name not in instance.shared:
            # the first value stays, so that all threads share one
            instance.shared.setdefault(self.name, self.func(instance))
        value: T = instance.shared[self.name]
        return value
