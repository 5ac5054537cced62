"""What looks wrong with the data under a fit: extremes, distributions, influence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.diagnostics.check_model import Finding, distinct_groups
from mixedlm_ext.diagnostics.influence import group_influence
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.geometry.residuals import row_residuals, standardized_modes

Array = NDArray[np.float64]

__all__ = ["extreme_levels", "extreme_rows", "influential_groups", "is_dear", "normality"]

_FAR_LEVEL, _FAR_ROW = 3.5, 4.0
"""Standard deviations from which a random effect and a residual are worth a look."""
_SKEWED, _HEAVY = 1.0, 1.5
"""Skewness and excess kurtosis that are large enough to matter."""
_FEWEST = 10
"""Values below which nothing is said about a distribution."""
_SHAPIRO = 2000
"""Values up to which Shapiro and Wilk's test is used, Jarque and Bera's above."""
_DEAR = 2e8
"""Rows times columns of Z above which influence between crossed factors is not looked at."""
_SHOWN = 3
_TAIL = "there is a long tail of"


def extreme_rows(fit: Fit) -> Iterator[Finding]:
    """Rows far from their fitted values."""
    r = row_residuals(fit, "scaled")
    limit = _limit(_FAR_ROW, len(r))
    far = np.argsort(-np.abs(r), kind="stable")[: int((np.abs(r) > limit).sum())]
    if len(far):
        listed = "; ".join(_row_text(fit, int(i), float(r[i])) for i in far[:_SHOWN])
        yield Finding(
            "extreme rows",
            f"{_count(len(far), 'row is', 'rows are')} fitted badly, more than {limit:.1f} "
            f"residual standard deviations off: {listed}{_more(len(far))}. Look for errors of "
            "measurement or typing.",
        )


def _row_text(fit: Fit, i: int, r: float) -> str:
    """Describe one row: its label, its groups, how far it is off."""
    named = [t for t in distinct_groups(fit) if not t.has_members]
    groups = ", ".join(f"{t.group} {t.levels[int(t.codes[i])]}" for t in named)
    where = f" ({groups})" if groups else ""
    return f"row {fit.design.index[i]}{where}, {abs(r):.1f} {_side(r)}"


def extreme_levels(fit: Fit) -> Iterator[Finding]:
    """Levels whose random effects are far from those of the others."""
    for name, modes in standardized_modes(fit).items():
        z = modes.to_numpy()
        limit = _limit(_FAR_LEVEL, z.size)
        size = np.nan_to_num(np.abs(z))
        order = np.argsort(-size, axis=None, kind="stable")[: int((size > limit).sum())]
        far = [divmod(int(cell), z.shape[1]) for cell in order]
        if far:
            listed = "; ".join(
                f"{modes.index[i]} in {modes.columns[j]}, {size[i, j]:.1f} {_side(z[i, j])}"
                for i, j in far[:_SHOWN]
            )
            yield Finding(
                "extreme levels",
                f"{_count(len(far), 'random effect', 'random effects')} of {name} "
                f"{'is' if len(far) == 1 else 'are'} far from what the others would lead one to "
                f"expect, more than {limit:.1f} standard deviations from the average: "
                f"{listed}{_more(len(far))}. Look whether they belong to the same population.",
                name,
            )


def normality(fit: Fit) -> Iterator[Finding]:
    """Residuals and random effects whose shape is far from normal."""
    shape = _shape(row_residuals(fit, "scaled"), 1e-3)
    if shape:
        advice = (
            " A transformed response, such as its logarithm, may help." if _TAIL in shape else ""
        )
        yield Finding(
            "residuals",
            f"The residuals are far from normally distributed: {shape}. The fixed effects bear "
            f"this well; prediction intervals, and p-values near a limit, less.{advice}",
        )
    for name, modes in standardized_modes(fit).items():
        shapes = {c: _shape(modes[c].dropna().to_numpy(), 1e-2) for c in modes}
        odd = {str(c): text for c, text in shapes.items() if text}
        if odd:
            yield Finding(
                "random effects",
                f"The levels of {name} are far from normally distributed in {' and '.join(odd)}: "
                f"{next(iter(odd.values()))}. There may be several kinds of levels, or the model "
                "lacks a variable that tells them apart.",
                name,
            )


def _shape(z: Array, significance: float) -> str:
    """Say how values differ from normal ones, if by much and not by chance; else nothing."""
    if len(z) < _FEWEST or not z.std() > 0:
        return ""
    test = stats.shapiro if len(z) <= _SHAPIRO else stats.jarque_bera
    skewness, kurtosis = float(stats.skew(z)), float(stats.kurtosis(z))
    if float(test(z).pvalue) >= significance:
        return ""
    parts = []
    if abs(skewness) > _SKEWED:
        side = "high" if skewness > 0 else "low"
        parts.append(f"{_TAIL} {side} values (skewness {skewness:.1f}, normal 0)")
    if kurtosis > _HEAVY:
        parts.append(
            f"extreme values are more common than they should be (excess kurtosis {kurtosis:.1f}, "
            "normal 0)"
        )
    return ", and ".join(parts)


def influential_groups(fit: Fit) -> Iterator[Finding]:
    """Groups that alone move a coefficient by more than its standard error."""
    if fit.problem.cp.p == 0 or is_dear(fit):
        return
    for term in distinct_groups(fit):
        if len(term.levels) == 1 or term.has_members:
            continue
        without = group_influence(fit, term.group, refit=False)
        size = np.nan_to_num(without.change.abs().to_numpy() / np.sqrt(_variances(fit)))
        far = [g for g in np.argsort(-size.max(axis=1), kind="stable") if size[g].max() > 1.0]
        if far:
            listed = "; ".join(
                _change_text(fit, without.change, int(g), int(size[g].argmax()))
                for g in far[:_SHOWN]
            )
            yield Finding(
                "influence",
                f"Results depend on single levels of {term.group}: without one, a coefficient "
                f"changes by more than its standard error. {listed}{_more(len(far))}. Report the "
                "results with and without.",
                term.group,
            )


def is_dear(fit: Fit) -> bool:
    """Say whether influence takes too long for a check."""
    cp = fit.problem.cp
    return len(cp.shapes) > 1 and cp.n * cp.q > _DEAR


def _change_text(fit: Fit, change: pd.DataFrame, g: int, j: int) -> str:
    """Say what happens to one coefficient without one level."""
    now, then = fit.beta[j], fit.beta[j] + change.iloc[g, j]
    return f"Without {change.index[g]}, {change.columns[j]} goes from {now:.4g} to {then:.4g}"


def _variances(fit: Fit) -> Array:
    """Return the variances of the fixed effects."""
    return np.asarray(fit.sigma**2 * np.diag(fit.unscaled_cov))


def _limit(least: float, count: int) -> float:
    """Return a limit that one of `count` normal values passes with probability 0.05 or less."""
    return max(least, float(stats.norm.isf(0.025 / max(count, 1))))


def _side(z: float) -> str:
    return "above" if z > 0 else "below"


def _count(n: int, one: str, many: str) -> str:
    return f"One {one}" if n == 1 else f"{n} {many}"


def _more(n: int) -> str:
    return f"; and {n - _SHOWN} more" if n > _SHOWN else ""
