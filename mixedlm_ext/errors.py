"""Errors and warnings of the package: each says what is wrong and what to type next."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from types import FrameType

__all__ = [
    "DataError",
    "DesignError",
    "DesignWarning",
    "FitError",
    "FormulaError",
    "MixedLMError",
    "RowsRemovedError",
    "SingularFitWarning",
    "check_choice",
    "check_probability",
    "did_you_mean",
    "outside_frame",
    "shown",
    "warn_caller",
]


_LONGEST = 60
"""Characters of a value that an error shows in full."""


class MixedLMError(ValueError):
    """Base class of every error the package raises on purpose."""


class FormulaError(MixedLMError):
    """The formula cannot be read; the message points at the place with a caret.

    Parameters
    ----------
    problem : str
        What is wrong, one line, without a final full stop.
    formula : str
        The user's whole formula.
    span : tuple of int
        Start and stop of the offending characters in `formula`.
    hint : str
        What to write instead, a full sentence.
    """

    def __init__(
        self, problem: str, formula: str = "", span: tuple[int, int] = (0, 0), hint: str = ""
    ) -> None:
        self.problem = problem
        self.formula = formula
        self.span = span
        self.hint = hint
        parts = [problem, _caret(formula, span) if formula else "", hint]
        super().__init__("\n".join(part for part in parts if part))

    def __reduce__(self) -> tuple[type[FormulaError], tuple[str, str, tuple[int, int], str]]:
        return type(self), (self.problem, self.formula, self.span, self.hint)


class DesignError(MixedLMError):
    """The data do not support the model that the formula or the arrays describe."""


class DataError(DesignError):
    """The data cannot be read: a file that is damaged, or a source that is not always the same."""


class FitError(MixedLMError):
    """The estimation cannot be carried out as asked."""


class RowsRemovedError(FitError, DesignError):
    """The rows were removed by remove_data(), or are not in memory, and are needed."""


class DesignWarning(UserWarning):
    """Something in the data was set aside (a column, a row) and the fit goes on."""


class SingularFitWarning(UserWarning):
    """The estimated covariance of some random effects is singular."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn, pointing at the line outside the package from which it was called."""
    level, _ = outside_frame()
    warnings.warn(message, category, stacklevel=level)


def outside_frame() -> tuple[int, FrameType]:
    """Return the first frame outside the package, and how many above the caller it is, from 1."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_own(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    return level, frame


def _is_own(module: str) -> bool:
    """Say whether a module is one of the package's."""
    return module.partition(".")[0] == __name__.partition(".")[0]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest of `known` in any case, or ""."""
    lower = {str(k).lower(): str(k) for k in known}
    near = get_close_matches(str(name).lower(), lower, n=1)
    return f" Did you mean {lower[near[0]]!r}?" if near else ""


def check_choice(
    what: str,
    value: object,
    choices: Iterable[str],
    error: type[MixedLMError] = DesignError,
    aliases: Iterable[str] = (),
    more: str = "",
    quote: bool = True,
) -> None:
    """Raise `error` unless `value` is one of `choices`.

    Parameters
    ----------
    what : str
        The argument.
    value : object
    choices : iterable of str
    error : type
    aliases : iterable of str
        Names that are accepted and not listed.
    more : str
        A sentence after the list.
    quote : bool
        Whether the choices are listed in quotes.

    Raises
    ------
    MixedLMError
        "missing='dorp' is not known. Did you mean 'drop'? Use one of 'drop', 'raise', 'none'."
    """
    known, others = list(choices), list(aliases)
    near = ""
    if isinstance(value, str):  # an array would be compared entry by entry
        if value in known or value in others:
            return
        near = did_you_mean(value, [*known, *others])
    listed = ", ".join(map(repr, known) if quote else known)
    raise error(
        f"{what}={shown(value)} is not known.{near} Use one of {listed}.{more and f' {more}'}"
    )


def check_probability(what: str, value: object, example: float = 0.05) -> None:
    """Raise FitError unless `value` lies between 0 and 1; `what` names the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise FitError(f"{what}={shown(value)} is no probability. Pass a number such as {example}.")


def shown(value: object) -> str:
    """Return a value as an error shows it: as one types it if short, or its type and shape."""
    text = repr(value)
    typed = not (callable(value) or text.startswith("<") or "dtype(" in text)
    if typed and len(text) <= _LONGEST and "\n" not in text:
        return text
    shape = getattr(value, "shape", None)
    return f"<{type(value).__name__}{'' if shape is None else f' of shape {shape}'}>"


def _caret(formula: str, span: tuple[int, int]) -> str:
    """Show the line of `formula` that holds `span`, carets under the span."""
    start, stop = span
    line_start = formula.rfind("\n", 0, start) + 1
    line_stop = formula.find("\n", start)
    line = formula[line_start : line_stop if line_stop >= 0 else len(formula)]
    width = max(1, min(stop, line_start + len(line)) - start)
    return f"    {line}\n    {' ' * (start - line_start)}{'^' * width}"
