"""Backward elimination of random and fixed terms, as lmerTest's `step`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import patsy

from mixedlm_ext.design.names import list_names
from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, did_you_mean, shown
from mixedlm_ext.formula.parser import RandomTermSpec
from mixedlm_ext.inference.choices import name_list
from mixedlm_ext.inference.drop1 import drop1_table
from mixedlm_ext.inference.fixed_terms import fixed_terms
from mixedlm_ext.inference.ranova import deletion_terms, ranova_table

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

__all__ = ["StepResults", "backward_elimination"]


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
    """

    model: Any
    random: pd.DataFrame
    fixed: pd.DataFrame
    note: str = ""

    @property
    def formula(self) -> str:
        """The formula of the model that is left."""
        return str(self.model.model.formula_full)

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


def backward_elimination(
    results: MixedLMResults,
    alpha_random: float,
    alpha_fixed: float,
    reduce_random: bool,
    reduce_fixed: bool,
    keep: Any,
) -> StepResults:
    """Return what `MixedLMResults.step` returns."""
    for name, alpha in (("alpha_random", alpha_random), ("alpha_fixed", alpha_fixed)):
        number = isinstance(alpha, (int, float, np.number)) and not isinstance(alpha, bool)
        if not (number and 0 <= alpha <= 1):
            raise FitError(f"{name}={shown(alpha)} is no level. Pass a number from 0 to 1.")
    if results.fit_record.design.formula is None:
        raise FitError(
            "step() takes terms out of a formula, and the model was made from arrays. Compare "
            "models by compare(), or test columns by drop1()."
        )
    kept = [] if keep is None else _kept(results, keep)
    note = ""
    if reduce_random:
        results, random, note = _random(results, alpha_random, kept)
    else:
        random = _with_order([], ranova_table(results, True, "chi2"))
    fixed = _with_order([], drop1_table(results, None, "F"))
    if reduce_fixed:
        results, fixed = _fixed(results, alpha_fixed, kept)
    return StepResults(results, random, fixed, note)


def _kept(results: MixedLMResults, keep: Any) -> list[str]:
    """Return the names of terms to keep, spaced as the tables have them.

    A random term stands for all of its effects; one that is not there yet may come about when
    another is reduced.
    """
    design = results.fit_record.design
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
    results: MixedLMResults, alpha: float, keep: list[str]
) -> tuple[MixedLMResults, pd.DataFrame, str]:
    """Leave out or reduce the random term with the largest p-value until all are below alpha."""
    gone: list[pd.DataFrame] = []
    while True:
        table = ranova_table(results, True, "chi2")
        terms = deletion_terms(results.fit_record.design)
        worst, p = _largest(table["pvalue"].iloc[1:], keep)
        if p <= alpha:
            return results, _with_order(gone, table), ""
        spec, effect = terms[worst]
        reduced = None if effect is None else _reduced(spec, effect)
        if reduced is None and len(results.fit_record.design.terms) == 1:
            note = (
                f"{worst} is not needed (p = {p:.3g}), but a mixed model has a random term: "
                "it was kept. Without it, fit statsmodels' OLS."
            )
            return results, _with_order(gone, table), note
        change = f"~ . - {spec.written}" + (f" + {reduced}" if reduced else "")
        gone.append(table.loc[["<none>", worst]] if not gone else table.loc[[worst]])
        results = _updated(results, change)


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
    results: MixedLMResults, alpha: float, keep: list[str]
) -> tuple[MixedLMResults, pd.DataFrame]:
    """Leave out the fixed term with the largest p-value until all are below alpha."""
    gone: list[pd.DataFrame] = []
    while True:
        table = drop1_table(results, None, "F")
        worst, p = _largest(table["pvalue"], keep)
        if p <= alpha:
            return results, _with_order(gone, table)
        gone.append(table.loc[[worst]])
        results = _updated(results, f"~ . - {worst}")


def _updated(results: MixedLMResults, change: str) -> MixedLMResults:
    """Return the fit of the changed formula, without its wrapper."""
    new = results.update(change)
    return cast("MixedLMResults", getattr(new, "_results", new))


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
