"""Backward elimination of random and fixed terms, as lmerTest's `step`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import patsy

from mixedlm_ext.design.messages import list_names
from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, did_you_mean, shown
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.choices import name_list
from mixedlm_ext.inference.compare.drop1 import drop1
from mixedlm_ext.inference.compare.ranova import deletion_terms, ranova
from mixedlm_ext.inference.fixed.fixed_terms import fixed_terms
from mixedlm_ext.inference.update import updated
from mixedlm_ext.language.mixed_formula import RandomTermSpec

__all__ = ["Elimination", "StepResults", "eliminate", "step"]


@dataclass(frozen=True, eq=False)
class StepResults:
    """What `MixedLMResults.step` did.

    Attributes
    ----------
    model : MixedLMResults
        The fit of the model that is left.
    random, fixed : DataFrame
        The tests of `ranova` and `drop1`. Column ``Eliminated`` numbers the terms in the order in
        which they were left out, 0 for those that stay. The row ``<none>`` is the full model.
    note : str
        What to know of the outcome; usually empty.
    formula : str
        The formula of the model that is left.
    """

    model: Any
    random: pd.DataFrame
    fixed: pd.DataFrame
    note: str = ""
    formula: str = ""

    def __str__(self) -> str:
        parts = []
        for what, table in (("random", self.random), ("fixed", self.fixed)):
            parts.append(
                f"Backward elimination of {what} terms\n{table.to_string(na_rep='', line_width=80)}"
            )
        parts.append(f"Model found: {self.formula}")
        return "\n\n".join([*parts, self.note] if self.note else parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        heading = f"Backward elimination. Model found: {self.formula}"
        return page(heading, [self.random, self.fixed], [self.note])


@dataclass(frozen=True)
class Elimination:
    """How terms of one kind of model are tested and left out.

    Attributes
    ----------
    random, fixed : callable
        From a fit to the table of its random terms, ``<none>`` first, and of its fixed ones.
    update : callable
        From a fit and a change of its formula to another fit.
    plain : str
        What fits a model without random terms.
    """

    random: Callable[[Fitted], pd.DataFrame]
    fixed: Callable[[Fitted], pd.DataFrame]
    update: Callable[[Fitted, str], Fitted]
    plain: str


def step(
    fitted: Fitted,
    alpha_random: float = 0.1,
    alpha_fixed: float = 0.05,
    reduce_random: bool = True,
    reduce_fixed: bool = True,
    keep: str | Sequence[str] | None = None,
) -> StepResults:
    """Eliminate terms backwards: first of the random part, then of the fixed one.

    Parameters
    ----------
    alpha_random, alpha_fixed : float
        Terms whose tests have larger p-values are left out.
    reduce_random, reduce_fixed : bool
        Whether to eliminate terms of each part, or only to test them.
    keep : str or sequence of str, optional
        Rows of `ranova` and `drop1` that stay whatever their p-values.

    Returns
    -------
    StepResults
        ``model`` is the fit that is left, ``random`` and ``fixed`` are the tables of tests; it
        prints as both tables and the formula.

    Raises
    ------
    FitError
        If the model was made from arrays, or an argument makes no sense.

    Notes
    -----
    As lmerTest's ``step``: the term of `ranova` with the largest p-value is left out or
    reduced as long as that is above `alpha_random`, then the term of `drop1` (F tests, by the
    method of the fit) as long as that is above `alpha_fixed`, and the model is fitted anew each
    time. The last random term stays, since a mixed model has one; ``note`` says so.

    P-values and intervals of a model found in this way take no account of the search; they are
    too small and too narrow.

    References
    ----------
    Kuznetsova, Brockhoff & Christensen (2017). lmerTest package: tests in linear mixed effects
    models. Journal of Statistical Software 82(13).

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> formula = "Reaction ~ Days + I(Days**2) + (Days | Subject)"
    >>> found = MixedLM.from_formula(formula, data).fit().step()
    >>> found.formula
    'Reaction ~ Days + (Days | Subject)'
    >>> found.fixed[["Eliminated", "F"]].round(3)
                  Eliminated       F
    I(Days ** 2)           1   1.656
    Days                   0  45.853
    """
    ways = Elimination(
        random=lambda own: ranova(own, True, "chi2"),
        fixed=lambda own: drop1(own, None, "F"),
        update=updated,
        plain="OLS",
    )
    return eliminate(fitted, ways, alpha_random, alpha_fixed, reduce_random, reduce_fixed, keep)


def eliminate(
    fitted: Fitted,
    ways: Elimination,
    alpha_random: float,
    alpha_fixed: float,
    reduce_random: bool,
    reduce_fixed: bool,
    keep: str | Sequence[str] | None,
) -> StepResults:
    """Eliminate terms backwards; arguments are those of `step`."""
    for name, alpha in (("alpha_random", alpha_random), ("alpha_fixed", alpha_fixed)):
        number = isinstance(alpha, (int, float, np.number)) and not isinstance(alpha, bool)
        if not (number and 0 <= alpha <= 1):
            raise FitError(f"{name}={shown(alpha)} is no level. Pass a number from 0 to 1.")
    if fitted.design.formula is None:
        raise FitError(
            "step() takes terms out of a formula, and the model was made from arrays. Compare "
            "models by compare(), or test columns by drop1()."
        )
    kept = [] if keep is None else _kept(fitted, keep)
    note = ""
    if reduce_random:
        fitted, random, note = _random(fitted, ways, alpha_random, kept)
    else:
        random = _with_order([], ways.random(fitted))
    if reduce_fixed:
        fitted, fixed = _fixed(fitted, ways, alpha_fixed, kept)
    else:
        fixed = _with_order([], ways.fixed(fitted))
    assert fitted.design.formula is not None
    return StepResults(fitted.result(), random, fixed, note, fitted.design.formula.written)


def _kept(fitted: Fitted, keep: Any) -> list[str]:
    """Return the names of terms to keep, spaced as the tables have them.

    A random term stands for all of its effects; one that is not there yet may come about when
    another is reduced.
    """
    design = fitted.design
    effects = deletion_terms(design)
    fixed = [term.name for term in fixed_terms(design)]
    random = [*effects, *(spec.text for spec, _ in effects.values())]
    known = {"".join(name.split()): name for name in (*fixed, *random)}
    out = []
    for name in name_list(keep, "keep", "['x', '(1 | g)']"):
        found = known.get("".join(name.split()), name)
        if found == name and name not in known.values() and "|" not in name:
            raise FitError(
                f"keep has {name!r}, which is no term of the fixed part ({list_names(fixed)})."
                f"{did_you_mean(name, fixed)}"
            )
        out += [row for row, (spec, _) in effects.items() if spec.text == found] or [found]
    return out


def _random(
    fitted: Fitted, ways: Elimination, alpha: float, keep: list[str]
) -> tuple[Fitted, pd.DataFrame, str]:
    """Leave out or reduce the random term with the largest p-value until all are below alpha."""
    gone: list[pd.DataFrame] = []
    while True:
        table = ways.random(fitted)
        terms = deletion_terms(fitted.design)
        worst, p = _largest(table["pvalue"].iloc[1:], keep)
        if p <= alpha:
            return fitted, _with_order(gone, table), ""
        spec, effect = terms[worst]
        reduced = None if effect is None else _reduced(spec, effect)
        if reduced is None and len(fitted.design.terms) == 1:
            note = (
                f"{worst} is not needed (p = {p:.3g}), but a mixed model has a random term: "
                f"it was kept. Without it, fit statsmodels' {ways.plain}."
            )
            return fitted, _with_order(gone, table), note
        change = f"~ . - {spec.written}" + (f" + {reduced}" if reduced else "")
        gone.append(table.loc[["<none>", worst]] if not gone else table.loc[[worst]])
        fitted = ways.update(fitted, change)


def _largest(p: pd.Series, keep: list[str]) -> tuple[str, float]:
    """Return the term with the largest p-value, 1 where nothing was tested.

    A term without a coefficient of its own goes first; without any term it is ("", 0).
    """
    values = {str(name): 1.0 if np.isnan(v) else float(v) for name, v in p.items()}
    able = [name for name in values if name not in keep]
    worst = max(able, key=values.__getitem__, default="")
    return worst, values.get(worst, 0.0)


def _reduced(spec: RandomTermSpec, effect: str) -> str:
    """Return a random term without one effect; (1 | g) where nothing else is left."""
    terms = patsy.ModelDesc.from_formula(f"~ {spec.expr}").rhs_termlist
    left = [term for term in terms if term.name() != effect]
    names = [term.name() for term in left if term.factors]
    if len(left) == len(names) and names:
        names.insert(0, "0")
    return replace(spec, expr=" + ".join(names) or "1").text


def _fixed(
    fitted: Fitted, ways: Elimination, alpha: float, keep: list[str]
) -> tuple[Fitted, pd.DataFrame]:
    """Leave out the fixed term with the largest p-value until all are below alpha."""
    gone: list[pd.DataFrame] = []
    while True:
        table = ways.fixed(fitted)
        worst, p = _largest(table["pvalue"], keep)
        if p <= alpha:
            return fitted, _with_order(gone, table)
        gone.append(table.loc[[worst]])
        fitted = ways.update(fitted, f"~ . - {worst}")


def _with_order(gone: list[pd.DataFrame], last: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of eliminated terms in their order, then those that stay."""
    rest = last.drop(index="<none>", errors="ignore") if gone else last
    table = pd.concat([*gone, rest]) if gone else last.copy()
    count = sum(len(part.index.drop("<none>", errors="ignore")) for part in gone)
    order = np.zeros(len(table), dtype=int)
    first = int(len(table) > 0 and table.index[0] == "<none>")
    order[first : first + count] = np.arange(1, count + 1)
    table.insert(0, "Eliminated", order)
    table.attrs.update(last.attrs)
    return table
