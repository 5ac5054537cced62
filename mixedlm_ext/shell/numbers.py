"""Numbers that were read as text, since they are written with commas."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

__all__ = ["check_numbers", "has_decimal_commas", "other_numbers"]

_DECIMAL = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?|[-+]?\d+", re.IGNORECASE)
_POINT = re.compile(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", re.IGNORECASE)
_THREE = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}|[-+]?\d+")
_NUMBERS = re.compile(r"[-+]?[\d.,' ]*\d")


def has_decimal_commas(frame: pd.DataFrame) -> bool:
    """Say whether some column can be nothing but numbers with decimal commas.

    "1,234" alone can be: it may also be one thousand two hundred and thirty-four.
    """
    return any(
        all(map(_DECIMAL.fullmatch, values)) and not all(map(_THREE.fullmatch, values))
        for _, values in _with_commas(frame)
    )


def check_numbers(frame: pd.DataFrame) -> str:
    """Return what is wrong with a column of numbers that was read as text, or ""."""
    for name, values in _with_commas(frame):
        if all(map(_NUMBERS.fullmatch, values)):
            value = next(value for value in values if "," in value)
            return (
                f"column {name!r} holds {value!r}, which is a number only if it is said how: "
                "--decimal , or --thousands , (with --decimal . to read it as text)."
            )
    return ""


def other_numbers(frame: pd.DataFrame, decimal: str) -> Iterator[str]:
    """Name the text columns that hold nothing but numbers with another decimal sign than said."""
    for name, column in frame.items():
        if pd.api.types.is_numeric_dtype(column):
            continue
        values = [value.strip() for value in column.dropna() if isinstance(value, str)]
        if values and all(map((_DECIMAL if decimal == "." else _POINT).fullmatch, values)):
            found = f"column {str(name)!r} holds {values[0]!r}"
            yield f"{found}, which is text with --decimal {decimal}"


def _with_commas(frame: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Go through the text columns that have commas: name and values that are not missing."""
    for name, column in frame.items():
        if pd.api.types.is_numeric_dtype(column):
            continue
        values = [value.strip() for value in column.dropna() if isinstance(value, str)]
        if any("," in value for value in values):
            yield str(name), values
