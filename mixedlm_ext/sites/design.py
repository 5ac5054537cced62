"""From a summary to a design without rows, checked as the rows together would be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixedlm_ext.batches.checking import checked
from mixedlm_ext.batches.learning import Learnt
from mixedlm_ext.batches.without_rows import Given, design_without_rows
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.sites.coding import rebuilt
from mixedlm_ext.sites.sums import SiteSums

__all__ = ["design_of_sums"]


def design_of_sums(
    sums: SiteSums, env: Mapping[str, Any], drop_cols: Any = None, checks: Checks | None = None
) -> Design:
    """Return the design of the rows that were summed.

    Parameters
    ----------
    sums : SiteSums
    env : mapping
        Functions and modules that the formula uses.
    drop_cols : sequence of str, optional
    checks : Checks, optional

    Raises
    ------
    DesignError
        If the rows together do not support the model.
    """
    checks = Checks() if checks is None else checks
    matrices, scope, frame = rebuilt(sums.coding, env)
    summed, specs = sums.summed, sums.terms
    learnt = Learnt(matrices.formula, scope, matrices, sums.groups, frame, summed.tally)
    weighted = sums.coding["weights"] is not None
    fixed = checked(learnt, specs, summed, sums.roots, drop_cols, checks, weighted)
    given = Given(
        columns=tuple(sums.coding["columns"]),
        weights=_given(sums.coding["weights"]),
        offset=_given(sums.coding["offset"]),
        checks=checks,
        words="the rows of this fit stayed at their sites",
        way_out="Sites can predict for their own rows: result.predict(data), or to_predictor().",
    )
    return design_without_rows(given, learnt, specs, summed, sums.roots, fixed)


def _given(text: str | None) -> Any:
    """Return how weights or an offset were given: a column, an array (of which nothing is here)."""
    if text is None:
        return None
    return text.removeprefix("column ") if text.startswith("column ") else ()
