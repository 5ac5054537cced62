"""``fit(fix=, equal=)`` of parameters of the residuals: names, values, and what they are in η."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mixedlm_ext.design import Design
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.parameters import RESIDUAL_KINDS, Parameter
from mixedlm_ext.residual.structure import ResidualStructure

__all__ = ["KINDS_IN_WORDS", "OF_RESIDUALS", "check_range", "eta_of", "short_names", "strata_of"]

KINDS_IN_WORDS = {
    "stratum": "a standard deviation",
    "rho": "a correlation of residuals",
    "ratio": "a ratio",
    "power": "a power",
    "rate": "a rate",
}
OF_RESIDUALS = (*RESIDUAL_KINDS, "stratum")
"""Kinds of parameters of the residuals."""
_NEAR_END = 1e-9
"""How near the engine must come to a correlation of residuals, next to the end of its range."""


def strata_of(design: Design) -> Iterator[Parameter]:
    """Yield the standard deviations of the strata of residuals after the first, which is sigma.

    There are none where strata of several factors are combined, of which each has a ratio.
    """
    residual = design.residual
    if residual is None or sum(part.levels is not None for part in residual.variances) != 1:
        return
    for k, own in enumerate(residual.parameters):
        if own.kind == "ratio":
            yield Parameter(f"sd(Residual, {own.name})", "stratum", columns=(k,))


def short_names(design: Design, p: Parameter) -> Iterator[str]:
    """Yield "Residual.rho" and "Residual.Male", the standard deviation of that stratum."""
    assert design.residual is not None
    if p.kind in ("rho", "stratum"):
        yield f"Residual.{design.residual.parameters[p.columns[0]].name}"


def eta_of(residual: ResidualStructure, p: Parameter, value: float, sigma: float | None) -> float:
    """Return the η of a value (see structures/parameter_point.py)."""
    if p.kind == "rho":
        kind = residual.kind
        assert kind is not None
        return kind.z_of(kind.r_of_rho(value))
    if p.kind == "stratum":
        return float(np.log(value / (1.0 if sigma is None else sigma)))
    return float(np.log(value)) if p.kind == "ratio" else value


def check_range(p: Parameter, value: float, residual: ResidualStructure) -> None:
    """Refuse values of parameters of residuals that these cannot have, or only at the very end."""
    own = residual.parameters[p.columns[0]]
    inside = own.low < value < own.high or (value == own.low == 0.0 and p.kind == "rho")
    if p.kind == "rho" and inside:
        kind = residual.kind
        assert kind is not None
        reached = kind.rho_of(kind.r_of(kind.z_of(kind.r_of_rho(value)))[0])
        inside = abs(reached - value) <= _NEAR_END
    if not inside:
        raise FitError(
            f"{p.name!r} is {KINDS_IN_WORDS[p.kind]} and cannot be {value:g}. Pass a number "
            f"between {own.low:.4g} and {own.high:.4g}."
        )
