"""The design and the prior weights of a generalized model, from what users write.

Conventions are those of statsmodels' GLM: a binomial response is 0 or 1, two columns of successes
and failures, or a proportion with its trials in `weights`; an exposure adds its logarithm to the
offset; var_weights divide the variance, freq_weights count equal rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.genmod import families

from mixedlm_ext.arguments import read_formula, translate_groups
from mixedlm_ext.design import Design, design_from_arrays
from mixedlm_ext.design.frame import Table, read_table
from mixedlm_ext.design.named_checks import read_checks
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.families.choose import check_family, check_response_of, extra_of
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.generalized.exposure import offset_with_exposure, with_exposure
from mixedlm_ext.generalized.responses import proportion_of_arrays, response_of_formula
from mixedlm_ext.generalized.weights import (
    WeightsByKind,
    naming_column,
    number_column,
    numbers_per_row,
    weights_by_kind,
)
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.language import MixedFormula, parse_formula

Array = NDArray[np.float64]

__all__ = [
    "GLM_FORMULA_ARGUMENTS",
    "GeneralizedDesign",
    "read_arrays",
    "read_generalized",
]

GLM_FORMULA_ARGUMENTS = (
    "formula", "data", "family", "subset", "drop_cols", "weights", "exposure", "offset",
    "freq_weights", "var_weights", "missing", "groups", "re_formula", "vc_formula", "hasconst",
    "eval_env", "check", "cov",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class GeneralizedDesign:
    """A design, the distribution of its response, and what its rows count for.

    Attributes
    ----------
    design : Design
        Without weights: those of a linear model are precisions.
    family : statsmodels family
    prior : PriorWeights
    """

    design: Design
    family: Any
    prior: PriorWeights

    def with_response(self, y: Array, name: str | None = None) -> GeneralizedDesign:
        """Return the same with another response (n,)."""
        check_response_of(
            self.family, y, self.prior, name or self.design.endog_name, self.design.index
        )
        return replace(self, design=self.design.with_response(y, name))

    def without_rows(self) -> GeneralizedDesign:
        """Forget everything with one entry a row."""
        return replace(self, design=self.design.without_rows(), prior=self.prior.without_rows())


def read_generalized(
    formula: Any,
    data: Any,
    family: Any,
    *,
    weights: Any = None,
    exposure: Any = None,
    offset: Any = None,
    freq_weights: Any = None,
    var_weights: Any = None,
    groups: Any = None,
    re_formula: str | None = None,
    vc_formula: Mapping[str, str] | None = None,
    eval_env: Mapping[str, Any],
    **more: Any,
) -> GeneralizedDesign:
    """Read a formula, data and the arguments of statsmodels' GLM.

    Raises
    ------
    FormulaError, DesignError
        As `mixedlm_ext.arguments.read_formula`; if the response is not one that the family has.
    """
    check_family(family)
    known = {name: more[name] for name in more if name not in _PASSED}
    refuse_unknown("from_formula", known, GLM_FORMULA_ARGUMENTS)
    table = read_table(data)
    if groups is None:
        parsed, scope = _parsed(formula, table), eval_env
    else:
        parsed, scope = translate_groups(formula, data, groups, re_formula, vc_formula, eval_env)
    response = response_of_formula(parsed, family, table, scope)
    given = (
        number_column(table, weights, "weights"),
        number_column(table, freq_weights, "freq_weights"),
        number_column(table, var_weights, "var_weights"),
    )
    kinds = weights_by_kind(family, response.trials, *given)
    text = response.text
    if exposure is not None:
        text, offset = with_exposure(family, text, table, exposure, offset)
    if groups is not None and text != parsed.text:
        raise DesignError(
            "two columns of successes and failures, and an exposure, need the random effects "
            "in the formula. Write (x | g) in the place of groups=."
        )
    design = read_formula(
        text if groups is None else parsed,
        table,
        weights=naming_column(weights, kinds),
        offset=offset,
        eval_env=scope,
        saturated=extra_of(family) != "dispersion",
        **more,
    )
    return _finished(design, family, kinds, response.name)


_PASSED = ("subset", "drop_cols", "missing", "check", "cov")


def read_arrays(
    endog: Any,
    exog: Any,
    random: Any,
    family: Any,
    *,
    weights: Any = None,
    exposure: Any = None,
    offset: Any = None,
    freq_weights: Any = None,
    var_weights: Any = None,
    missing: str = "none",
    check: Mapping[str, str] | None = None,
) -> GeneralizedDesign:
    """Lay out arrays; `endog` of a binomial model may have two columns, successes and failures."""
    check_family(family)
    y, trials = proportion_of_arrays(endog, family)
    n = len(y)
    given = (
        numbers_per_row(weights, "weights", n),
        numbers_per_row(freq_weights, "freq_weights", n),
        numbers_per_row(var_weights, "var_weights", n),
    )
    kinds = weights_by_kind(family, trials, *given)
    if exposure is not None:
        offset = offset_with_exposure(family, exposure, offset, n)
    design = design_from_arrays(
        y,
        exog,
        random,
        weights=kinds.product(),
        offset=offset,
        missing=missing,
        allow_saturated=extra_of(family) != "dispersion",
        checks=read_checks(check),
    )
    return _finished(design, family, kinds, None)


def _finished(
    design: Design, family: Any, kinds: WeightsByKind, name: str | None
) -> GeneralizedDesign:
    """Return the design without weights, the weights of its rows, and a checked response."""
    prior = kinds.of_rows(design.rows.positions)
    count = prior.count(len(design.y))
    if count < 1.0:
        raise DesignError(
            f"freq_weights sum to {count:.2g} observations: they say how many equal rows each row "
            "stands for. For precisions, pass var_weights=."
        )
    design = replace(design, rows=replace(design.rows, weights=None))
    if name is not None and design.formula is not None:
        formula = replace(design.formula, own_response=name)
        design = replace(design, spec=replace(design.spec, formula=formula))
        design = design.with_response(design.y, name)
    check_response_of(family, design.y, prior, design.endog_name, design.index)
    _check_single_rows(design, family, prior)
    return GeneralizedDesign(design, family, prior)


def _check_single_rows(design: Design, family: Any, prior: PriorWeights) -> None:
    """Refuse a random effect of each row where a row is a single 0 or 1."""
    trials = 1.0 if prior.trials is None else prior.trials
    if type(family) is not families.Binomial or np.max(trials) > 1.0:
        return
    for term in design.terms:
        alone = term.related is None or term.related.is_identity
        if alone and len(term.levels) == len(design.y):
            found = DesignError(
                f"each level of {term.group!r} has one row, a single 0 or 1, which tells nothing "
                f"of a variance between rows.\nDrop {term.text}, or use a coarser factor."
            )
            design.checks.report("levels", found)


def _parsed(formula: str, table: Table) -> MixedFormula:
    """Parse a formula; without random terms it is statsmodels' GLM that is named."""
    try:
        return parse_formula(formula, columns=table.names)
    except FormulaError as error:
        hint = error.hint.replace("OLS: smf.ols(", "GLM: smf.glm(")
        hint = hint.replace(", data).", ", data, family=family).")
        raise FormulaError(error.problem, error.formula, error.span, hint) from None
