"""What a fit and predictions print, as text, JSON or CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mixedlm_ext import MixedGLMResults, __version__

__all__ = ["fit_csv", "fit_json", "fit_text", "predictions"]


def fit_text(result: Any, anova: pd.DataFrame | None) -> str:
    """Return the summary, and under it the F tests."""
    parts = [str(result.summary())]
    if anova is not None and not len(anova):
        parts.append("\nThere is no term to test besides the intercept.")
    if anova is not None and len(anova):
        parts.append(f"\n{anova.attrs['title']}\n{anova.to_string(na_rep='', float_format='%.5g')}")
        parts += [anova.attrs["note"]] if anova.attrs.get("note") else []
    return "\n".join(parts) + "\n"


def fit_csv(result: Any, anova: pd.DataFrame | None) -> str:
    """Return one table: the parameters, or the F tests."""
    if anova is None:
        return str(result.tidy().to_csv(index=False, lineterminator="\n"))
    return str(anova.rename_axis("term").to_csv(lineterminator="\n"))


def fit_json(result: Any, anova: pd.DataFrame | None, notes: Sequence[str]) -> str:
    """Return one object that holds all of a fit; what is not finite is null."""
    design = result.fit_record.design
    fixed = result.tidy("fixed").drop(columns=["effect", "group"])
    out = {
        "mixedlm_ext": __version__,
        "formula": result.model.formula_full,
        **_kind(result),
        "nobs": result.nobs,
        "rows_with_missing_values": design.n_missing,
        "rows_with_zero_weight": design.n_zero_weight,
        "groups": dict(result.n_groups),
        "objective": result.objective,
        "llf": result.llf,
        "aic": result.aic,
        "bic": result.bic,
        "converged": result.converged,
        "singular": result.singular,
        "verdict": result.optimization.message,
        "evaluations": result.optimization.evaluations,
        "fixed_effects": _records(fixed),
        "not_estimable": list(design.dropped),
        "variance_components": _records(result.varcorr()),
    }
    if anova is not None:
        out["anova"] = _records(anova.rename_axis("term").reset_index())
    return _dump(out | {"notes": list(notes)})


def _kind(result: Any) -> dict[str, Any]:
    """Return what a linear model, or a generalized one, has of its own."""
    if not isinstance(result, MixedGLMResults):
        return {"method": result.method, "sigma": result.sigma, "ddf": result.ddf}
    family = result.family
    own = {"family": type(family).__name__, "link": type(family.link).__name__}
    alpha = getattr(family, "alpha", None)
    return {
        **own, "method": "ML", "nagq": result.nagq, "scale": result.scale,
        **({} if alpha is None else {"alpha": alpha}),
    }  # fmt: skip


def predictions(frame: pd.DataFrame, form: str) -> str:
    """Return the rows with their predictions."""
    if form == "json":
        return _dump(_records(frame))
    if form == "csv":
        return str(frame.to_csv(index=False, lineterminator="\n"))
    return str(frame.to_string(index=False, na_rep="")) + "\n"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as JSON has them."""
    return [
        {str(name): _plain(value) for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    """Return a cell as JSON has it: null for what is missing or not finite, text for dates."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else str(value)


def _dump(value: Any) -> str:
    """Return strict JSON in ASCII, which survives every terminal."""
    return json.dumps(value, indent=2, allow_nan=False, default=_plain) + "\n"
