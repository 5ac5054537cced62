"""What looks wrong with a model: its random-effects terms, its groups, its columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import TermDesign
from mixedlm_ext.diagnostics.directions import combination, constant_directions, relative_spread
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.identification import redundant_parameters

Array = NDArray[np.float64]

__all__ = ["Finding", "convergence", "distinct_groups", "few_levels", "redundancy", "scales",
           "single_rows", "singular_text", "singularity"]  # fmt: skip

_NEARLY_FLAT = 0.03
"""Smallest standard deviation of a direction, relative to the largest, that goes unmentioned."""
_NEARLY_NOTHING = 0.01
"""The same relative to the residual standard deviation."""
_FEW_LEVELS = 5
_SCALE_RATIO = 1e3
"""Ratio of two columns' standard deviations, the limit of lme4's check."""
_FAR_FROM_ZERO = 100.0
"""Mean over standard deviation of a column."""
_SHOWN = 3
_MANY_SINGLE = (
    "; the split into variation between and within levels rests on the other levels alone"
)


@dataclass(frozen=True)
class Finding:
    """One thing that stands out.

    Attributes
    ----------
    topic : str
        "convergence", "redundant", "singular", "nearly singular", "few levels", "single rows",
        "scale", "extreme rows", "extreme levels", "residuals", "random effects" or "influence".
    text : str
    where : str or None
        The random-effects term, or grouping factor, concerned.
    """

    topic: str
    text: str
    where: str | None = None


def convergence(fit: Fit) -> Iterator[Finding]:
    """Whether the search ended at a minimum."""
    if not fit.optimization.converged:
        yield Finding(
            "convergence",
            f"The fit did not converge: {fit.optimization.message} Do not use the estimates yet. "
            "Try fit(method='bobyqa'), or a simpler random-effects term.",
        )


def redundancy(fit: Fit) -> Iterator[Finding]:
    """Variances of several terms of which only combinations are seen."""
    names = redundant_parameters(fit.design, fit.problem)
    if names:
        yield Finding(
            "redundant",
            f"The data cannot tell {names} apart: only combinations of them are seen, and how they "
            "divide them is arbitrary. Tests and predictions do not depend on it. Drop one of the "
            "terms.",
        )


def singularity(fit: Fit) -> Iterator[Finding]:
    """Random effects that do not vary, or hardly."""
    for t, term in enumerate(fit.design.terms):
        if fit.singular_terms[t]:
            yield Finding("singular", singular_text(fit, t, term), term.name)
        else:
            text = _nearly_singular_text(fit, t, term)
            if text:
                yield Finding("nearly singular", text, term.name)


def singular_text(fit: Fit, t: int, term: TermDesign) -> str:
    """Say in which directions a singular term does not vary."""
    directions = constant_directions(fit, t)
    if len(directions) == len(term.columns):
        return (
            f"The levels of {term.group} do not differ more than chance would make them differ: "
            f"all standard deviations of {term.text} are estimated as zero. The model says the "
            "same as one without this term."
        )
    shown = [_direction_text(term, c) for c in directions[:_SHOWN]]
    more = len(directions) - len(shown)
    tail = f", and {more} further combinations do not vary either" if more else ""
    said = _capitalized("; ".join(shown)) + tail
    varies = len(term.columns) - len(directions)
    simpler = "with || in place of |" if term.kind.linear else "with another structure"
    return (
        f"{term.text} is more than the data can tell apart. {said}. So the levels of "
        f"{term.group} differ in {varies} direction{'s' if varies > 1 else ''}, not in "
        f"{len(term.columns)}. The estimates are right, but a simpler term would fit as well or "
        f"nearly so: one with fewer columns, or {simpler}."
    )


def _direction_text(term: TermDesign, c: Array) -> str:
    """Say what it means that c'b is the same for every level."""
    own = np.flatnonzero(c)
    names = [term.columns[j] for j in own]
    if len(own) == 1:
        return f"{names[0]} is estimated to be the same for every level (standard deviation zero)"
    if len(own) == 2:
        sign = -1 if c[own].prod() > 0 else 1
        return (
            f"{names[0]} and {names[1]} are estimated to go together perfectly (correlation {sign})"
        )
    return (
        f"the combination {combination(c, term.columns)} is estimated to be the same for every "
        "level (standard deviation zero)"
    )


def _nearly_singular_text(fit: Fit, t: int, term: TermDesign) -> str:
    """Say what is nearly singular about a term, or nothing."""
    spread = relative_spread(fit, t)
    if spread[0] < _NEARLY_NOTHING:
        return (
            f"The levels of {term.group} hardly differ: what {term.text} adds has a standard "
            f"deviation of {100 * spread[0]:.1g} % of that of the residuals. A model without it "
            "says nearly the same."
        )
    # where columns follow one another in time, combinations that hardly vary are no surprise
    if term.kind.linear and spread[-1] < _NEARLY_FLAT * spread[0]:
        return (
            f"{term.text} is close to more than the data can tell apart: in one direction the "
            f"levels of {term.group} vary {spread[0] / spread[-1]:.0f} times less than in another, "
            "as when two random effects are almost perfectly correlated. Read its correlations "
            "with care; a simpler term may fit about as well."
        )
    return ""


def few_levels(fit: Fit) -> Iterator[Finding]:
    """Grouping factors too small to estimate a variance from."""
    for term in distinct_groups(fit):
        if len(term.levels) < _FEW_LEVELS:
            yield Finding(
                "few levels",
                f"{term.group} has only {len(term.levels)} levels. How much levels differ cannot "
                "be estimated well from so few: its standard deviations are very uncertain. "
                "Consider making it a fixed effect.",
                term.group,
            )


def single_rows(fit: Fit) -> Iterator[Finding]:
    """Levels with one row."""
    for term in distinct_groups(fit):
        if term.related is not None:  # relatives show what single rows do not
            continue
        counts = np.bincount(term.codes)
        single = np.flatnonzero(counts == 1)
        if not len(single):
            continue
        names = _and([str(term.levels[int(i)]) for i in single[:_SHOWN]])
        if len(single) == 1:
            who = f"Level {names} of {term.group} has only one row"
        else:
            example = f", such as {names}" if len(single) > _SHOWN else f" ({names})"
            who = (
                f"{len(single)} of the {len(counts)} levels of {term.group} have only one row"
                f"{example}"
            )
        yield Finding(
            "single rows",
            f"{who}. That does no harm, but one row cannot show how much rows within a level "
            f"differ{'' if len(single) < 0.2 * len(counts) else _MANY_SINGLE}.",
            term.group,
        )


def scales(fit: Fit) -> Iterator[Finding]:
    """Columns of the fixed part of very different size, or far from zero."""
    X, names = fit.design.X, fit.design.x_names
    mean, sd = X.mean(axis=0), X.std(axis=0)
    vary = np.flatnonzero(sd > 1e-12 * np.abs(X).max(axis=0, initial=0.0))
    if len(vary) > 1:
        low, high = vary[sd[vary].argmin()], vary[sd[vary].argmax()]
        if sd[high] > _SCALE_RATIO * sd[low]:
            yield Finding(
                "scale",
                f"{names[high]} and {names[low]} are of very different size (standard deviations "
                f"{sd[high]:.3g} and {sd[low]:.3g}). The fit does not suffer, but the coefficients "
                "are hard to compare and to print. Consider other units.",
            )
    far = [j for j in vary if abs(mean[j]) > _FAR_FROM_ZERO * sd[j]]
    if far and len(vary) < len(names):
        for j in far[:_SHOWN]:
            yield Finding(
                "scale",
                f"{names[j]} lies far from zero (mean {mean[j]:.6g}, standard deviation "
                f"{sd[j]:.3g}), and an intercept, fixed or random, is about {names[j]} = 0, where "
                "there are no data. Subtract the mean or another typical value.",
            )


def distinct_groups(fit: Fit) -> list[TermDesign]:
    """Return one term for each grouping factor."""
    return list({term.group: term for term in reversed(fit.design.terms)}.values())[::-1]


def _and(names: list[str]) -> str:
    """Join names: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capitalized(text: str) -> str:
    """Return a sentence's beginning; names keep their case."""
    return text[0].upper() + text[1:] if text.startswith("the ") else text
