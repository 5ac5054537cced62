"""Tables that put another program's number beside the one computed while the page is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Row = tuple[str, str, str, Any]
"""The other program's code, this package's code, what to evaluate, the other program's numbers."""


def sides(
    rows: Sequence[Row], names: tuple[str, str], scope: dict[str, Any], rtol: float = 1e-4
) -> None:
    """Print a list-table of both languages and both numbers; fail where they differ.

    Parameters
    ----------
    rows : sequence of (code there, code here, expression, numbers there)
        The expression is evaluated in `scope`; None if there is nothing to compare.
    names : (str, str)
        The programs' names.
    scope : dict
    rtol : float
        Numbers may differ by so much of the largest of their row.
    """
    there, here = names
    print(".. list-table::\n   :header-rows: 1\n   :class: sides\n   :widths: auto\n")
    line([f"in {there}", f"in {here}", f"{there} gives", f"{here} gives"])
    for code, own, expression, known in rows:
        if expression is None:
            line([literal(code), literal(own), "", ""])
            continue
        value = np.atleast_1d(np.asarray(eval(expression, scope), dtype=float)).ravel()
        known = np.atleast_1d(np.asarray(known, dtype=float))
        if not np.allclose(value, known, rtol=0, atol=rtol * np.abs(known).max()):
            raise AssertionError(f"{own}: {value}, but {there} gives {known}")
        line([literal(code), literal(own), text(known), text(value)])
    print()


def line(cells: Sequence[str]) -> None:
    """Print one row of a list-table."""
    for number, cell in enumerate(cells):
        print(f"   {'* -' if number == 0 else '  -'} {cell}")


def literal(code: str) -> str:
    """Return code as inline literals, one for each alternative."""
    return ", ".join(f"``{part}``" for part in code.split(" ;; ")) if code else ""


def text(values: np.ndarray) -> str:
    """Return numbers with five significant digits."""
    return ", ".join(f"{v:.0f}" if float(v).is_integer() else f"{v:#.5g}" for v in values)
