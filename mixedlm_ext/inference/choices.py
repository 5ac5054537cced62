"""Arguments that choose among names: anything else gets an error, of whatever type it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixedlm_ext.design.names import list_names
from mixedlm_ext.errors import FitError, did_you_mean

__all__ = ["check_choice", "check_flag", "name_list", "shown"]

_LONGEST = 60


def check_choice(value: Any, argument: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of the choices, and raise FitError otherwise.

    Examples
    --------
    >>> check_choice("F", "test", ("F", "LRT"))
    'F'
    """
    if isinstance(value, str) and value in choices:
        return str(value)
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    raise FitError(
        f"{argument}={shown(value)} is not known.{near} Use one of {list_names(choices)}."
    )


def check_flag(value: Any, argument: str) -> bool:
    """Return True or False, NumPy's included, and raise FitError for anything else."""
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise FitError(f"{argument}={shown(value)} is neither True nor False.")


def name_list(value: Any, argument: str, example: str) -> list[str]:
    """Return one name or several as a list, and raise FitError for anything else."""
    names = [value] if isinstance(value, str) else value
    try:
        listed = list(names)
    except TypeError:
        listed = [None]
    if not all(isinstance(name, str) for name in listed):
        raise FitError(
            f"{argument}={shown(value)} is neither a name nor a list of names. "
            f"Write {argument}={example}, for example."
        )
    return listed


def shown(value: Any) -> str:
    """Return a value as an error shows it: in full if short, otherwise its type and shape."""
    text = repr(value)
    if len(text) <= _LONGEST and "\n" not in text:
        return text
    shape = getattr(value, "shape", None)
    return f"<{type(value).__name__}{'' if shape is None else f' of shape {shape}'}>"
