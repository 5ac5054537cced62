"""What marginal means and trends are asked for: factors, those they are apart by, a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.means.reference_grid import ReferenceGrid, reference_grid

__all__ = ["read_specs", "refuse_later"]

_LATER: dict[str, dict[str, str]] = {
    "contrasts": {
        "adjust": "adjust", "kind": "kind", "method": "kind", "reference": "reference",
        "ref": "reference", "interaction": "interaction",
    },
    "summary_frame": {"alpha": "alpha", "level": "alpha"},
}  # fmt: skip
"""Arguments that come after the means, by R's names too."""


def refuse_later(function: str, given: Mapping[str, Any]) -> None:
    """Refuse arguments of the methods of what is returned."""
    for name in given:
        for method, names in _LATER.items():
            if name in names:
                raise TypeError(
                    f"{function}() takes no {name!r}; that belongs to what it returns: "
                    f"result.{function}(...).{method}({names[name]}=...)."
                )


def read_specs(
    fitted: Fitted,
    specs: Any,
    by: Any,
    at: Mapping[str, Any] | None,
    some: bool = True,
) -> tuple[ReferenceGrid, list[str], list[str]]:
    """Return the grid, the variables of `by`, and those of `specs` with what they are nested in.

    With `some` there has to be one.
    """
    design = fitted.design
    if design.formula is None:
        raise FitError(
            "marginal means need a formula, to know which columns of X belong to a factor. "
            "Use t_test() with a row for each mean, or MixedLM.from_formula."
        )
    fitted.rows("the means of its covariates")
    groups, wanted = _names("by", by), _names("specs", specs)
    grid = reference_grid(design, {} if at is None else at, [*groups, *wanted])
    _check_factors([*groups, *wanted], grid.cells, some)
    for name in list(wanted):
        missing = [p for p in grid.nesting.get(name, ()) if p not in [*groups, *wanted]]
        wanted[wanted.index(name) : wanted.index(name)] = missing
    return grid, groups, wanted


def _names(argument: str, given: Any) -> list[str]:
    """Return one or several names of variables as a list."""
    if given is None or isinstance(given, str):
        return [] if given is None else [given]
    names = list(given) if hasattr(given, "__iter__") and not isinstance(given, bytes) else [given]
    for name in names:
        if not isinstance(name, str):
            raise FitError(
                f"{argument}= has {name!r}, which is no name of a variable. Give a name or a list "
                "of names; levels and values of variables go into at=."
            )
    return [str(name) for name in names]


def _check_factors(wanted: Sequence[str], cells: pd.DataFrame, some: bool) -> None:
    """Refuse names that are no variables of the fixed part, and repeated ones."""
    if not len(cells.columns):
        raise FitError("the fixed part has no variables, so there are no means by their levels.")
    if some and not wanted:
        raise FitError(f"no factor is named. Choose among {list_names(cells)}.")
    for name in wanted:
        if name not in cells:
            formula = any(sign in name for sign in "~|*:")
            hint = " Write emmeans(['a', 'b'], by='c') for R's ~ a * b | c." if formula else ""
            raise FitError(
                f"{name!r} is no variable of the fixed part ({list_names(cells)})."
                f"{hint or did_you_mean(name, map(str, cells))}"
            )
        if wanted.count(name) > 1:
            raise FitError(f"{name!r} is named twice. Put it either first or into by=.")
