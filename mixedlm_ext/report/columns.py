"""What statsmodels' `summary_col` shows of a model below its coefficients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.varcorr import varcorr

__all__ = ["model_infos"]


def model_infos(fitted: Fitted) -> dict[str, Callable[[Any], str]]:
    """Return the rows of the random effects and the size of the fit.

    Returns
    -------
    dict of str to callable
        By label; each takes the results and returns the text of its row.
    """
    rows = dict(_components(fitted))
    rows["N"] = str(fitted.n)
    rows |= {f"N {group}": str(count) for group, count in fitted.n_groups.items()}
    # AIC by REML compares no models whose fixed effects differ, as those side by side do
    label, value = (
        ("REML criterion", fitted.fit.objective) if fitted.fit.reml else ("AIC", fitted.aic)
    )
    rows[label] = f"{value:.1f}"
    return {label: _always(text) for label, text in rows.items()}


def _always(text: str) -> Callable[[Any], str]:
    return lambda results: text


def _components(fitted: Fitted) -> Iterator[tuple[str, str]]:
    """Label the standard deviations and correlations of `varcorr`."""
    frame = varcorr(fitted.fit)
    shown = [name for name in frame.columns if name.startswith("corr_")]
    for group, rows in frame.groupby("group", sort=False):
        names = list(rows["name"])
        for name, sd, correlations in zip(names, rows["std_dev"], rows[shown].to_numpy()):
            if not np.isnan(sd):
                yield f"sd {group} {name}".strip(), f"{sd:.4f}"
            for other, value in zip(names, correlations):
                if not np.isnan(value):
                    pair = name if np.isnan(sd) else f"{other}, {name}"
                    yield f"corr {group} {pair}", f"{value:.4f}"
        if "range" in rows:
            for name, value in rows.set_index("name")["range"].dropna().items():
                yield f"{name} {group}", f"{value:.4g}"
