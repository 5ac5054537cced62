"""Arguments that are True, False or names: anything else gets an error, whatever its type."""

from __future__ import annotations

from typing import Any

from mixedlm_ext.errors import FitError, shown

__all__ = ["check_flag", "name_list"]


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
