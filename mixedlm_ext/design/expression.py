"""One expression of a formula as patsy evaluates it, with what it remembers of a fit's data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import patsy

__all__ = ["Chunks", "Expression"]

Chunks = Callable[[], Iterator[Mapping[str, Any]]]
"""Yields the columns of all rows, some rows at a time, each time it is called."""


class Expression:
    """An expression whose stateful transforms remember the data of the fit.

    Parameters
    ----------
    code : str
    chunks : callable
        See `Chunks`.
    env : patsy.EvalEnvironment

    Attributes
    ----------
    state : dict
        What patsy remembers of it.
    """

    def __init__(self, code: str, chunks: Chunks, env: patsy.EvalEnvironment) -> None:
        self.factor = patsy.EvalFactor(code)
        # so that an error knows which expression it is about
        self.factor.origin = patsy.Origin(code, 0, len(code))
        self.state: dict[str, Any] = {}
        for step in range(self.factor.memorize_passes_needed(self.state, env)):
            for data in chunks():
                self.factor.memorize_chunk(self.state, step, data)
            self.factor.memorize_finish(self.state, step)

    @classmethod
    def from_state(cls, code: str, state: dict[str, Any]) -> Expression:
        """Return an expression that remembers already."""
        made = cls.__new__(cls)
        made.factor, made.state = patsy.EvalFactor(code, patsy.Origin(code, 0, len(code))), state
        return made

    def __call__(self, data: Mapping[str, Any]) -> Any:
        return self.factor.eval(self.state, data)
