"""What is recorded, and allowed, while a search goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.base import Criterion, Evaluation
from mixedlm_ext.errors import FitError

Array = NDArray[np.float64]
Progress = Callable[[int, float], None]
E = TypeVar("E")

__all__ = ["Log", "Progress"]


@dataclass
class Log:
    """The evaluations of a search and its way.

    Attributes
    ----------
    limit : int
        Evaluations at most.
    deadline : float
        The time of `time.monotonic` after which no evaluation begins.
    progress : callable, optional
        Called with the number of evaluations and the criterion after each accepted step.
    evaluations : int
    out_of_time : bool
    rounding : float
        What a step promised that the rounding of the criterion hid.
    objective, theta : list
        Of the start and of every accepted step.
    """

    limit: int
    deadline: float = np.inf
    progress: Progress | None = None
    evaluations: int = 0
    out_of_time: bool = False
    rounding: float = 0.0
    objective: list[float] = field(default_factory=list)
    theta: list[Array] = field(default_factory=list)

    def evaluate(self, criterion: Criterion[E], theta: Array) -> E | None:
        """Evaluate, or return None where theta is too extreme for it."""
        return self.attempt(lambda: criterion.at(theta))

    def attempt(self, evaluate: Callable[[], E]) -> E | None:
        """Evaluate in any way, or return None where there is no criterion."""
        self.evaluations += 1
        try:
            return evaluate()
        except FitError:
            return None

    def accept(self, e: Evaluation) -> None:
        """Write down the start, or a step that was taken."""
        self.objective.append(e.value)
        self.theta.append(e.theta)
        if self.progress is not None:
            self.progress(self.evaluations, e.value)

    def spent(self) -> bool:
        """Say whether no further evaluation is allowed, and note it if that is for want of time."""
        self.out_of_time = time.monotonic() >= self.deadline
        return self.out_of_time or self.evaluations >= self.limit

    def another_way(self) -> Log:
        """Return the log of a search from another start, under the same limits."""
        return replace(self, out_of_time=False, rounding=0.0, objective=[], theta=[])
