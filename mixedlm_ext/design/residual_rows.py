"""Residual structures in data: groups, positions, strata and covariates of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.checks import number_vector
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.grouping import combine_codes, level_codes, match_levels
from mixedlm_ext.design.messages import list_names, quoted
from mixedlm_ext.design.residual_checks import (
    check_neighbours,
    check_sizes,
    check_strata,
    check_told_apart,
    check_varies,
    check_whole,
    same_position,
    twice_at,
)
from mixedlm_ext.design.scope import Scope, is_built_in
from mixedlm_ext.design.times import in_days, time_kind
from mixedlm_ext.errors import DesignError, did_you_mean
from mixedlm_ext.residual.kinds import KINDS
from mixedlm_ext.residual.structure import (
    CorrelationPart,
    ResidualRows,
    ResidualStructure,
    VariancePart,
)
from mixedlm_ext.residual.text import (
    CorrelationText,
    VarianceText,
    parse_correlation,
    parse_variance,
)

__all__ = [
    "ResidualText",
    "evaluated",
    "new_residual_rows",
    "read_residual_text",
    "refuse_numbers",
    "residual_of",
]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ResidualText:
    """A residual structure as users write it.

    Attributes
    ----------
    correlation : CorrelationText or None
    variances : tuple of VarianceText
    """

    correlation: CorrelationText | None = None
    variances: tuple[VarianceText, ...] = ()

    def __bool__(self) -> bool:
        return self.correlation is not None or bool(self.variances)

    @property
    def codes(self) -> dict[str, str]:
        """Every expression, with the words for messages."""
        out: dict[str, str] = {}
        if self.correlation is not None:
            place = f"correlation={self.correlation.text!r}"
            for code in (*self.correlation.group, self.correlation.position):
                if code is not None:
                    out.setdefault(code, place)
        for part in self.variances:
            for code in part.codes:
                out.setdefault(code, f"variance={part.text!r}")
        return out

    @property
    def groups(self) -> list[str]:
        """Columns that are groups."""
        group = () if self.correlation is None else self.correlation.group
        return [name for code in group if (name := code_names(code).bare) is not None]

    def names(
        self, known: Sequence[Any], env: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, Any]]:
        """Return the columns that it uses, and what it takes from the caller's scope."""
        columns: dict[str, None] = {}
        scope: dict[str, Any] = {}
        for code, place in self.codes.items():
            names = code_names(code)
            for name in sorted(names.values | names.called):
                if name in known and name not in names.called:
                    columns[name] = None
                elif name in env:
                    scope[name] = env[name]
                elif not is_built_in(name) or name == names.bare:
                    raise DesignError(
                        f"{name!r} in {place} is neither a column of the data nor a variable in "
                        f"scope.{did_you_mean(name, known)}"
                    )
        return list(columns), scope


def read_residual_text(correlation: Any, variance: Any) -> ResidualText:
    """Read the two arguments of a model; None for independent residuals of one variance."""
    return ResidualText(
        None if correlation is None else parse_correlation(correlation),
        () if variance is None else parse_variance(variance),
    )


def residual_of(
    text: ResidualText, frame: pd.DataFrame, scope: Scope
) -> tuple[ResidualStructure, ResidualRows]:
    """Evaluate a residual structure in the rows of a model.

    Raises
    ------
    DesignError
        If positions are no numbers, occur twice in a group, or do not fit the structure; if no
        group has two rows; if a stratum is alone or has one row; if a covariate is zero, missing
        or constant.
    """
    part, codes, positions = None, None, None
    if text.correlation is not None:
        part, codes, positions = _correlation(text.correlation, frame, scope)
    variances, columns = [], []
    for own in text.variances:
        made, x = _variance(own, frame, scope)
        variances.append(made)
        columns.append(x)
    x = np.column_stack([np.zeros((len(frame), 0)), *columns])
    check_told_apart(text.variances, x, np.ones(len(x)))
    return ResidualStructure(part, tuple(variances)), ResidualRows(x, codes, positions)


def new_residual_rows(
    structure: ResidualStructure, frame: pd.DataFrame, scope: Scope
) -> ResidualRows:
    """Evaluate the structure of a fit in other rows.

    Groups that the fit has not seen are groups of their own, numbered after those of the fit.

    Raises
    ------
    DesignError
        If a stratum was not in the fit, or a covariate cannot be used.
    """
    codes, positions = None, None
    if structure.correlation is not None:
        own = structure.correlation
        values = [evaluated(code, frame, scope) for code in own.group]
        codes = match_levels(values, own.levels)
        unseen = np.flatnonzero(codes < 0)
        if len(unseen):
            factors = [level_codes(value) for value in values]
            new, _ = combine_codes(factors)
            codes = np.where(codes < 0, len(own.levels) + new, codes)
        if own.position is not None:
            positions = _positions(own.position, f"correlation={own.text!r}", frame, scope)
            if own.kind.word == "ar1":
                check_whole(positions, own.position, own.group, frame.index)
    columns = [_new_column(part, frame, scope) for part in structure.variances]
    return ResidualRows(np.column_stack([np.zeros((len(frame), 0)), *columns]), codes, positions)


def evaluated(code: str, frame: pd.DataFrame, scope: Scope) -> Any:
    """Return the value of an expression of columns, one for each row."""
    names = code_names(code)
    if names.plain:
        return frame[names.bare]
    columns = {str(name): frame[name] for name in frame.columns}
    try:
        with np.errstate(all="ignore"):
            value = scope.environment(names.values | names.called).eval(
                code, inner_namespace=columns
            )
    except Exception as error:
        raise DesignError(f"{code!r} cannot be evaluated in the data: {error}") from error
    if np.ndim(value) != 1 or len(value) != len(frame):
        raise DesignError(f"{code!r} has not one value for each of the {len(frame)} rows.")
    return value


# --- correlations -----------------------------------------------------------------------------


def _correlation(
    text: CorrelationText, frame: pd.DataFrame, scope: Scope
) -> tuple[CorrelationPart, Codes, Floats | None]:
    """Return the kind of correlation, the groups of the rows and their positions."""
    name = ":".join(text.group)
    factors = [level_codes(evaluated(code, frame, scope), code) for code in text.group]
    codes, levels = combine_codes(factors, name)
    if len(codes) and codes.min() < 0:
        row = frame.index[int(np.flatnonzero(codes < 0)[0])]
        raise DesignError(f"{name!r} in {text.text} is missing at row {quoted(row)}.")
    size = np.bincount(codes)
    check_sizes(text, int(size.max()))
    kind = KINDS[text.word]
    if text.position is None:
        return (
            CorrelationPart(kind(1.0, int(size.max())), text.text, text.group, None, levels),
            codes,
            None,
        )
    positions = _positions(text.position, text.text, frame, scope)
    gaps = _gaps(text, codes, levels, positions)
    unit = 1.0
    if text.word == "ar1":
        check_whole(positions, text.position, text.group, frame.index)
        positions = np.rint(positions)
        check_neighbours(text, gaps)
    else:
        unit = float(gaps.min())
    made = CorrelationPart(
        kind(unit, int(size.max())), text.text, text.group, text.position, levels
    )
    return made, codes, positions


def _positions(code: str, place: str, frame: pd.DataFrame, scope: Scope) -> Floats:
    """Return positions as numbers: those of ordered categories, days of dates."""
    values = evaluated(code, frame, scope)
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, pd.CategoricalDtype):
        if not dtype.ordered:
            raise DesignError(
                f"{code!r} in {place} is a categorical without an order, so that its levels have "
                f"no positions. Write data[{code!r}].cat.as_ordered(), or use a numeric column."
            )
        return np.asarray(pd.Series(values).cat.codes, dtype=float)
    kind = time_kind(values) if isinstance(values, pd.Series) else None
    if kind in ("date", "duration"):
        out = in_days(values, kind)
    else:
        out = number_vector(values, f"{code!r} in {place}", len(frame))
    lost = np.flatnonzero(~np.isfinite(out))
    if len(lost):
        raise DesignError(
            f"{code!r} in {place} is not finite at row {quoted(frame.index[int(lost[0])])}."
        )
    return out


def _gaps(text: CorrelationText, codes: Codes, levels: pd.Index, positions: Floats) -> Floats:
    """Return the distances of neighbours within groups; refuse two rows at one position."""
    order = np.lexsort((positions, codes))
    linked = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    gaps = positions[order][linked + 1] - positions[order][linked]
    tiny = same_position(float(np.ptp(positions)))
    twice = np.flatnonzero(gaps <= tiny)
    if len(twice):
        row = order[linked[twice[0]]]
        raise twice_at(text, levels[codes[row]], positions[row])
    return gaps


# --- variances --------------------------------------------------------------------------------


def _variance(text: VarianceText, frame: pd.DataFrame, scope: Scope) -> tuple[VariancePart, Floats]:
    """Return one factor of the standard deviations, and its columns of log D."""
    if text.word != "strata":
        x = _covariate(text.word, text.text, text.codes[0], frame, scope)
        scale = float(x.std())
        check_varies(text, scale, float(np.abs(x).max()))
        return VariancePart(text.word, text.text, text.codes, None, (scale,)), x[:, None]
    refuse_numbers(text, frame, scope)
    factors = [level_codes(evaluated(code, frame, scope), code) for code in text.codes]
    codes, levels = combine_codes(factors, text.text)
    check_strata(text, levels, np.bincount(codes, minlength=len(levels)))
    scales = (1.0,) * (len(levels) - 1)
    return VariancePart("strata", text.text, text.codes, levels, scales), _indicators(
        codes, len(levels)
    )


def refuse_numbers(text: VarianceText, frame: pd.DataFrame, scope: Scope) -> None:
    """Refuse a number with fractions as a factor."""
    for code in text.codes:
        values = evaluated(code, frame, scope)
        dtype = getattr(values, "dtype", None)
        if isinstance(dtype, np.dtype) and dtype.kind == "f":
            numbers = np.asarray(values)
            if (numbers != np.rint(numbers)).any():
                raise DesignError(
                    f"{code!r} in variance={text.text!r} is a number, and strata are levels of a "
                    f"factor. Write variance='power({code})' or 'exp({code})'."
                )


def _covariate(word: str, text: str, code: str, frame: pd.DataFrame, scope: Scope) -> Floats:
    """Return the column of log D of a covariate."""
    values = number_vector(
        evaluated(code, frame, scope), f"{code!r} in variance={text!r}", len(frame)
    )
    bad = np.flatnonzero(~np.isfinite(values) | ((values == 0.0) & (word == "power")))
    if len(bad):
        row = int(bad[0])
        raise DesignError(
            f"{code!r} in variance={text!r} is {values[row]:g} at row {quoted(frame.index[row])}"
            + (
                ", where a power of it is no standard deviation. Write variance='exp("
                f"{code})', or power() of a positive column."
                if values[row] == 0.0
                else ". Correct it or mark it as missing."
            )
        )
    return np.asarray(np.log(np.abs(values)) if word == "power" else values)


def _indicators(codes: Codes, levels: int) -> Floats:
    """Return whether a row is in the second, third, ... stratum."""
    return (codes[:, None] == np.arange(1, levels)).astype(float)


def _new_column(part: VariancePart, frame: pd.DataFrame, scope: Scope) -> Floats:
    """Return the columns of log D of other rows."""
    if part.levels is None:
        return _covariate(part.word, part.text, part.codes[0], frame, scope)[:, None]
    values = [evaluated(code, frame, scope) for code in part.codes]
    codes = match_levels(values, part.levels)
    bad = np.flatnonzero(codes < 0)
    if len(bad):
        row = int(bad[0])
        found = ":".join(str(np.asarray(value)[row]) for value in values)
        raise DesignError(
            f"{found!r} is no stratum of variance={part.text!r} in the fit, which had "
            f"{list_names(part.strata)}."
        )
    return _indicators(codes, len(part.levels))
