"""The design and the prior weights of a generalized model, from what users write.

Conventions are those of statsmodels' GLM: a binomial response is 0 or 1, two columns of successes
and failures, or a proportion with its trials in `weights`; an exposure adds its logarithm to the
offset; var_weights divide the variance, freq_weights count equal rows.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.genmod import families
from statsmodels.genmod.families import links

from mixedlm_ext.arguments import read_formula, refuse_unknown, translate_groups
from mixedlm_ext.design import Design, design_from_arrays
from mixedlm_ext.design.frame import Table, one_per_row, read_table
from mixedlm_ext.design.named_checks import read_checks
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.families.choose import check_family, check_response_of, extra_of
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.language import MixedFormula, parse_formula
from mixedlm_ext.language.parser import check_is_text

Array = NDArray[np.float64]

__all__ = [
    "GLM_FORMULA_ARGUMENTS",
    "GeneralizedDesign",
    "has_two_columns",
    "read_arrays",
    "read_generalized",
]

GLM_FORMULA_ARGUMENTS = (
    "formula", "data", "family", "subset", "drop_cols", "weights", "exposure", "offset",
    "freq_weights", "var_weights", "missing", "groups", "re_formula", "vc_formula", "hasconst",
    "eval_env", "check",
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


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights of all rows of the data, by kind."""

    trials: pd.Series | None = None
    var: pd.Series | None = None
    freq: pd.Series | None = None

    @property
    def given(self) -> list[pd.Series]:
        """Those that are there."""
        return [w for w in (self.trials, self.var, self.freq) if w is not None]

    def product(self) -> pd.Series | None:
        """Return the product of all kinds."""
        out = None
        for w in self.given:
            out = w if out is None else out * w.to_numpy()
        return out

    def of_rows(self, positions: NDArray[np.intp]) -> PriorWeights:
        """Return those of the rows of a design."""
        kinds = (self.trials, self.var, self.freq)
        return PriorWeights(
            *(None if w is None else w.to_numpy(dtype=float)[positions] for w in kinds)
        )


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
    table, scope = read_table(data), eval_env
    if groups is not None:
        parsed, scope = translate_groups(formula, data, groups, re_formula, vc_formula, scope)
    elif isinstance(formula, str):
        parsed = _parsed(formula, table)
    else:
        check_is_text(formula)
        raise AssertionError
    two = _two_columns(parsed.response) if type(family) is families.Binomial else None
    text, name = parsed.text, None
    trials = None
    if two is not None:
        text, trials = _as_proportion(parsed.text, two, table, scope)
        name = parsed.shown(parsed.response)
    elif type(family) is families.Binomial and _is_boolean(parsed, table, scope):
        text = f"({parsed.response}) * 1.0 ~{parsed.text.partition('~')[2]}"
        name = parsed.shown(parsed.response)
    kinds = _kinds(
        family, trials, *(_column(table, w, what) for w, what in (
            (weights, "weights"), (freq_weights, "freq_weights"), (var_weights, "var_weights")
        ))
    )  # fmt: skip
    if exposure is not None:
        text, offset = _with_exposure(family, text, table, exposure, offset)
    arguments = dict(more)
    if groups is not None:
        formula_or_text: Any = parsed
        if text != parsed.text:
            raise DesignError(
                "two columns of successes and failures, and an exposure, need the random effects "
                "in the formula. Write (x | g) in the place of groups=."
            )
    else:
        formula_or_text = text
    design = read_formula(
        formula_or_text,
        table,
        weights=_named(weights, kinds, trials),
        offset=offset,
        eval_env=scope,
        saturated=extra_of(family) != "dispersion",
        **arguments,
    )
    return _finished(design, family, kinds, name)


_PASSED = ("subset", "drop_cols", "missing", "check")


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
    y, trials = endog, None
    shape = np.shape(endog)
    if type(family) is families.Binomial and len(shape) == 2 and shape[1] == 2:
        both = np.asarray(endog, dtype=float)
        index = getattr(endog, "index", None)
        trials = pd.Series(both.sum(axis=1), index=index)
        with np.errstate(all="ignore"):
            share = both[:, 0] / both.sum(axis=1)
        y = pd.Series(np.where(both.sum(axis=1) > 0, share, 0.0), index=index, name="y")
    n = len(y)
    kinds = _kinds(
        family,
        trials,
        *(
            None if w is None else one_per_row(w, what, n).astype(float)
            for w, what in (
                (weights, "weights"),
                (freq_weights, "freq_weights"),
                (var_weights, "var_weights"),
            )
        ),
    )
    if exposure is not None:
        _check_log(family)
        logs = _log_exposure(one_per_row(exposure, "exposure", n))
        offset = logs if offset is None else one_per_row(offset, "offset", n) + logs.to_numpy()
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


def _finished(design: Design, family: Any, kinds: _Weights, name: str | None) -> GeneralizedDesign:
    """Return the design without weights, the weights of its rows, and a checked response."""
    related = [term for term in design.terms if term.related is not None]
    if related:
        raise DesignError(
            f"{related[0].text} has a known covariance of its levels, which generalized models do "
            "not take. Leave the matrix out, or fit a MixedLM."
        )
    prior = kinds.of_rows(design.rows.positions)
    design = replace(design, rows=replace(design.rows, weights=None))
    if name is not None:
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
        if len(term.levels) == len(design.y):
            found = DesignError(
                f"each level of {term.group!r} has one row, a single 0 or 1, which tells nothing "
                f"of a variance between rows.\nDrop {term.text}, or use a coarser factor."
            )
            design.checks.report("levels", found)


# --- weights --------------------------------------------------------------------------------------


def _column(table: Table, values: Any, what: str) -> pd.Series | None:
    """Return one kind of weights for all rows of the data."""
    if values is None:
        return None
    if isinstance(values, str):
        column = table.column(values, f"{what} column")
    else:
        column = one_per_row(values, what, len(table), table.index)
    try:
        return pd.Series(column.astype(float).to_numpy(), index=table.index)
    except (TypeError, ValueError):
        raise DesignError(f"{what} is not numeric. Use a column of numbers.") from None


def _kinds(
    family: Any,
    trials: pd.Series | None,
    weights: pd.Series | None,
    freq: pd.Series | None,
    var: pd.Series | None,
) -> _Weights:
    """Return the weights by kind: `weights` are trials in a binomial model, else var_weights."""
    if weights is None:
        return _Weights(trials, var, freq)
    if type(family) is families.Binomial:
        if trials is not None:
            raise DesignError(
                "weights= are the trials of a proportion, and a response of two columns has its "
                "own. Drop weights=; for equal rows that are counted once, pass freq_weights=."
            )
        return _Weights(weights, var, freq)
    if var is not None:
        raise DesignError("weights= and var_weights= are the same here. Pass one of them.")
    return _Weights(None, weights, freq)


def _named(weights: Any, kinds: _Weights, trials: pd.Series | None) -> Any:
    """Return the weights by which rows are left out: the name of a column if it is the only one."""
    if isinstance(weights, str) and len(kinds.given) == 1:
        return weights
    return kinds.product()


# --- two columns of a binomial response -----------------------------------------------------------


def has_two_columns(response: str, family: Any) -> bool:
    """Say whether a response is written as successes + failures of a binomial model."""
    return type(family) is families.Binomial and _two_columns(response) is not None


def _two_columns(response: str) -> tuple[str, str] | None:
    """Return the expressions left and right of the + of a response, if it is a sum of two."""
    try:
        tree = ast.parse(response.strip(), mode="eval").body
    except SyntaxError:
        return None
    if isinstance(tree, ast.Call) and getattr(tree.func, "id", "") == "cbind":
        raise FormulaError(
            "cbind() is R's",
            response,
            (0, 5),
            "Write the two columns with a plus: successes + failures ~ ...",
        )
    if not (isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add)):
        return None
    if isinstance(tree.left, ast.BinOp) and isinstance(tree.left.op, ast.Add):
        raise FormulaError(
            "a binomial response has two columns, successes and failures; this has more",
            response,
            (0, len(response)),
            "Write I(a + b) for sums.",
        )
    return ast.unparse(tree.left), ast.unparse(tree.right)


def _as_proportion(
    text: str, two: tuple[str, str], table: Table, scope: Mapping[str, Any]
) -> tuple[str, pd.Series]:
    """Return the formula with successes / trials for its response, and the trials of all rows."""
    success, failure = (_evaluated(code, table, scope) for code in two)
    for code, values in zip(two, (success, failure)):
        if (values < 0).any():
            row = table.index[int(np.flatnonzero(values < 0)[0])]
            raise DesignError(f"{code!r} is negative at row {row!r}. It is a number of trials.")
    left, right = two
    _, _, rest = text.partition("~")
    trials = pd.Series((success + failure).to_numpy(), index=table.index)
    return f"({left}) / (({left}) + ({right})) ~{rest}", trials


def _parsed(formula: str, table: Table) -> MixedFormula:
    """Parse a formula; without random terms it is statsmodels' GLM that is named."""
    try:
        return parse_formula(formula, columns=table.names)
    except FormulaError as error:
        hint = error.hint.replace("OLS: smf.ols(", "GLM: smf.glm(")
        hint = hint.replace(", data).", ", data, family=family).")
        raise FormulaError(error.problem, error.formula, error.span, hint) from None


def _is_boolean(formula: MixedFormula, table: Table, scope: Mapping[str, Any]) -> bool:
    """Say whether a response is true or false; refuse text, of which one value is a success."""
    try:
        values = pd.Series(_value(formula.response, table, scope))
    except Exception:  # said better where the design evaluates it
        return False
    if pd.api.types.is_bool_dtype(values.dtype):
        return True
    kind = isinstance(values.dtype, pd.CategoricalDtype) or values.dtype.kind in "OUST"
    kinds = list(pd.unique(values.dropna())) if kind else []
    if kinds and all(isinstance(v, bool | np.bool_) for v in kinds):
        return True
    if kinds and all(isinstance(v, str) for v in kinds):
        name = formula.shown(formula.response)
        raise DesignError(
            f"response {name!r} is text ({', '.join(map(repr, kinds[:3]))}). Say which value is a "
            f"success: ({formula.response} == {kinds[-1]!r}) ~ ..."
        )
    return False


def _value(code: str, table: Table, scope: Mapping[str, Any]) -> Any:
    """Evaluate an expression of the response in the data."""
    used = {node.id for node in ast.walk(ast.parse(code.strip())) if isinstance(node, ast.Name)}
    columns = {name: table.column(name) for name in used if name in table.names}
    names = {**scope, **columns, "Q": table.column, "I": lambda x: x, "np": np}
    return eval(code.strip(), {"__builtins__": {}}, names)


def _evaluated(code: str, table: Table, scope: Mapping[str, Any]) -> pd.Series:
    """Evaluate one of the two expressions in the data."""
    try:
        values = _value(code, table, scope)
        return pd.Series(np.asarray(values, dtype=float), index=table.index)
    except Exception as error:
        raise DesignError(
            f"{code!r} on the left of ~ cannot be evaluated in the data: {error}. A binomial "
            "response is successes + failures, two columns of numbers."
        ) from None


# --- exposure -------------------------------------------------------------------------------------


def _check_log(family: Any) -> None:
    """Refuse an exposure without the log link, as statsmodels does."""
    if not isinstance(family.link, links.Log):
        raise DesignError(
            "exposure= multiplies the mean, which needs the log link; this family has the link "
            f"{type(family.link).__name__}. Use offset=."
        )


def _log_exposure(values: pd.Series) -> pd.Series:
    """Return the logarithms of an exposure."""
    numbers = values.astype(float)
    if (numbers <= 0).any():
        row = numbers.index[int(np.flatnonzero((numbers <= 0).to_numpy())[0])]
        raise DesignError(
            f"exposure is {numbers.loc[row]:g} at row {row!r}; it has positive values. Leave such "
            "rows out with subset=."
        )
    return pd.Series(np.log(numbers.to_numpy()), index=values.index)


def _with_exposure(
    family: Any, text: str, table: Table, exposure: Any, offset: Any
) -> tuple[str, Any]:
    """Return formula and offset with an exposure in one of them.

    A column goes into the formula, so that predictions find it in new data.
    """
    _check_log(family)
    if isinstance(exposure, str):
        _log_exposure(table.column(exposure, "exposure column"))
        name = exposure if exposure.isidentifier() else f"Q({exposure!r})"
        return f"{text} + offset(log({name}))", offset
    logs = _log_exposure(one_per_row(exposure, "exposure", len(table), table.index))
    own = _column(table, offset, "offset")
    return text, logs if own is None else own + logs.to_numpy()
