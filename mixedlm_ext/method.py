"""Functions as methods: each stands beside its equations with its docstring; the face names it.

Written ``anova = of_fitted(anova.anova)`` in the body of a class. What `help`, `inspect.signature`,
tab completion and type checkers see is the function, with ``self`` in place of its first parameter.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from mixedlm_ext.errors import RowsRemovedError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.keywords import check_keywords

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["as_method", "described_by", "of_fit", "of_fitted"]


class _Method:
    """Stands in the body of a class for a function that belongs to the class once it is made."""

    def __init__(self, function: Callable[..., Any], returns: type | None, own: bool) -> None:
        self.function, self.returns, self.own = function, returns, own

    def __set_name__(self, owner: type, name: str) -> None:
        function = self.function
        function.__module__ = owner.__module__
        function.__name__, function.__qualname__ = name, f"{owner.__qualname__}.{name}"
        returns = owner if self.own else self.returns
        function.__signature__ = _seen(function, returns)  # type: ignore[attr-defined]
        setattr(owner, name, function)  # a plain function: it pickles, and help() lists it


def _seen(function: Callable[..., Any], returns: type | None) -> inspect.Signature:
    """Return the signature with `self` for the first parameter, and what the method returns."""
    signature = inspect.signature(function)
    _, *rest = signature.parameters.values()
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if returns is not None:
        function.__annotations__ = {**function.__annotations__, "return": returns}
        signature = signature.replace(return_annotation=returns.__name__)
    return signature.replace(parameters=[own, *rest])


def as_method(
    function: Callable[Concatenate[S, P], R],
    source: Callable[[Any], S],
    shown: Callable[[Any, R], Any] | None = None,
    returns: type | None = None,
) -> Any:
    """Return what makes a method of a function.

    Parameters
    ----------
    function : callable
        It takes what `source` finds first.
    source : callable
        From the instance to the function's first argument.
    shown : callable, optional
        From the instance and what the function returns to what the method returns: another
        instance, or one of the class `returns`.
    returns : type, optional
    """

    @functools.wraps(function)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        own, read = source(self), None
        try:
            found = function(own, *args, **kwargs)
        except RowsRemovedError:
            read = _with_rows_read(own)
            if read is None:
                raise
        except TypeError:
            check_keywords(call.__name__, function, kwargs)
            raise
        if read is not None:
            found = function(read, *args, **kwargs)
        return found if shown is None else shown(self, found)

    return _Method(call, returns, shown is not None and returns is None)


def _with_rows_read(own: Any) -> Any:
    """Return the same with the rows of its source in memory; None if they are too many, or gone."""
    elsewhere = own.design.rows.elsewhere
    design = None if elsewhere is None else elsewhere.gathered()
    return None if design is None else own.with_design(design)


def of_fitted(function: Callable[Concatenate[Fitted, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Make a method of results of a function of their `Fitted`."""
    return as_method(function, _fitted)


def of_fit(function: Callable[Concatenate[Fit, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Make a method of results of a function of their `Fit`."""
    return as_method(function, _fit)


def _fitted(results: Any) -> Fitted:
    return results.fitted


def _fit(results: Any) -> Fit:
    return results.fitted.fit


def described_by(function: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator that gives a method the docstring of a function with its parameters."""

    def described(method: F) -> F:
        method.__doc__ = function.__doc__
        return method

    return described
