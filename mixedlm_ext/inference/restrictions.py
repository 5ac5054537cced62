"""``fit(fix=, equal=)``: names and values in the user's units, as equations of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mixedlm_ext.design import Design
from mixedlm_ext.errors import FitError, did_you_mean, shown
from mixedlm_ext.inference.parameters import Parameter, model_parameters
from mixedlm_ext.inference.residual_restrictions import (
    KINDS_IN_WORDS,
    OF_RESIDUALS,
    check_range,
    eta_of,
    short_names,
    strata_of,
)
from mixedlm_ext.residual.structure import ResidualStructure
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.restrictions import (
    Correlation,
    Equation,
    LogRange,
    LogSd,
    LogSigma,
    LogTheta,
    OfResiduals,
    Quantity,
    Restrictions,
    ThetaItself,
)

__all__ = ["held_equations", "read_restrictions"]

_SIGMA = ("sigma", "Residual")
_KINDS = {
    "sd": "a standard deviation",
    "sigma": "a standard deviation",
    "cor": "a correlation",
    "range": "a range",
    **KINDS_IN_WORDS,
}


def read_restrictions(
    design: Design,
    covariance: Covariance,
    fix: Any,
    equal: Any,
    sigma: float | None,
) -> tuple[Restrictions | None, float | None]:
    """Read what users fix, and what they set equal.

    Parameters
    ----------
    design : Design
    covariance : Covariance
        Of its problem.
    fix : mapping of str to float, or None
        Values by the names of parameters: standard deviations, correlations, ranges, "sigma",
        parameters of the residuals.
    equal : sequence of sequence of str, or None
        Names of parameters that are equal, two or more in each set.
    sigma : float, optional
        A residual standard deviation that is known already.

    Returns
    -------
    Restrictions or None
    float or None
        The residual standard deviation, if it is known now.

    Raises
    ------
    FitError
        If a name is none of a parameter, or a value is none that it can have.
    """
    if fix is None and equal is None:
        return None, sigma
    names = _names(design)
    values = _read_fix(fix, names, design)
    sets = _read_equal(equal, names)
    sigma = _known_sigma(values, sigma)
    reader = _Reader(covariance, sigma, design.residual)
    reader.note_zeros(p for p, value in values.items() if p.kind == "cor" and value == 0.0)
    equations = [
        e for p, value in values.items() if p.kind != "sigma" for e in reader.fixed(p, value)
    ]
    for own in sets:
        for one, two in pairwise(own):
            equations.append(reader.equal(one, two))
    if not equations:
        return None, sigma
    given = {p.name: value for p, value in values.items() if p.kind != "sigma"}
    return Restrictions(
        tuple(dict.fromkeys(equations)),
        given,
        tuple(tuple(p.name for p in own) for own in sets),
        frozenset(given),
    ), sigma


def held_equations(
    p: Parameter,
    covariance: Covariance,
    value: float,
    sigma: float | None,
    residual: ResidualStructure | None = None,
) -> list[Equation]:
    """Return what holds one more parameter at a value; σ counts as a parameter unless given."""
    if p.kind == "sigma":
        return [Equation(((1.0, LogSigma()),), float(np.log(value)), p.name)]
    reader = _Reader(covariance, sigma, residual)
    reader.note_zeros([p] if p.kind == "cor" and value == 0.0 else [])
    return reader.fixed(p, value)


class _Reader:
    """Turns parameters into quantities of a covariance and of a residual structure."""

    def __init__(
        self, covariance: Covariance, sigma: float | None, residual: ResidualStructure | None
    ) -> None:
        self._covariance, self._sigma, self._residual = covariance, sigma, residual
        self._zeros: set[tuple[int, int, int]] = set()

    def note_zeros(self, uncorrelated: Iterable[Parameter]) -> None:
        """Find out which correlations of zero are entries T_ab of zero.

        Γ_ab = Σ_j T_aj T_bj over j <= b < a: where for each j < b one of the two is zero, too.
        """
        pairs = [(p.term, *sorted(p.columns, reverse=True)) for p in uncorrelated]
        for t, a, b in sorted(pairs, key=lambda pair: pair[2]):
            if all((t, a, j) in self._zeros or (t, b, j) in self._zeros for j in range(b)):
                self._zeros.add((t, a, b))

    def fixed(self, p: Parameter, value: float) -> list[Equation]:
        """Return the equations that fix a parameter."""
        text = f"{p.name} = {value:g}"
        if p.kind in OF_RESIDUALS:
            return [
                Equation(
                    ((1.0, self._of_residuals(p)),),
                    eta_of(self._known_residual, p, value, self._sigma),
                    text,
                )
            ]
        if p.kind == "sd" and value == 0.0:
            entries = self._entries_of(p)
            return [Equation(((1.0, ThetaItself(j)),), 0.0, text) for j in entries]
        if p.kind == "sd" and self._sigma is None:
            return [Equation(((1.0, self._log_sd(p, True)),), float(np.log(value)), text)]
        if p.kind == "sd" and self._sigma is not None:
            relative, place = value / self._sigma, self._place(p)
            if place is not None:
                return [Equation(((1.0, ThetaItself(place)),), relative, text)]
            return [Equation(((1.0, self._log_sd(p, False)),), float(np.log(relative)), text)]
        if p.kind == "range":
            place, unit = self._place(p), self._unit(p)
            u = 1.0 if np.isinf(value) else value / (value + unit)
            return [Equation(((1.0, ThetaItself(_known(place))),), u, text)]
        return [Equation(((1.0, self._correlation(p, value)),), value, text)]

    def equal(self, one: Parameter, two: Parameter) -> Equation:
        """Return the equation of two parameters that are equal."""
        text = f"{one.name} = {two.name}"
        if one.kind in OF_RESIDUALS or two.kind in OF_RESIDUALS:
            if "sigma" in (one.kind, two.kind):
                stratum = two if one.kind == "sigma" else one
                return Equation(((1.0, OfResiduals(stratum.columns[0])),), 0.0, text)
            a, b = (self._log_of(p) for p in (one, two))
            return Equation(((1.0, a), (-1.0, b)), 0.0, text)
        if "sigma" in (one.kind, two.kind):
            sd = two if one.kind == "sigma" else one
            place = self._place(sd)
            if place is not None:
                return Equation(((1.0, ThetaItself(place)),), 1.0, text)
            return Equation(((1.0, self._log_sd(sd, False)),), 0.0, text)
        a, b = self._comparable(one, two)
        return Equation(((1.0, a), (-1.0, b)), 0.0, text)

    def _of_residuals(self, p: Parameter) -> OfResiduals:
        """Return what a parameter of the residuals is in η; a stratum's sd where σ is not known."""
        return OfResiduals(p.columns[0], p.kind == "stratum" and self._sigma is None)

    @property
    def _known_residual(self) -> ResidualStructure:
        """The residual structure."""
        assert self._residual is not None
        return self._residual

    def _log_of(self, p: Parameter) -> Quantity:
        """Return what is compared with a parameter of the residuals: a log sd over σ, or an η."""
        if p.kind == "sd":
            return self._log_sd(p, False)
        return OfResiduals(p.columns[0])

    def _comparable(self, one: Parameter, two: Parameter) -> tuple[Quantity, Quantity]:
        """Return two parameters of one kind on one scale."""
        i, j = self._place(one), self._place(two)
        if one.kind == "range":
            if self._unit(one) != self._unit(two):
                return (
                    LogRange(_known(i), self._unit(one)),
                    LogRange(_known(j), self._unit(two)),
                )
            return ThetaItself(_known(i)), ThetaItself(_known(j))
        if one.kind == "sd" and (i is None or j is None):
            return self._log_sd(one, False), self._log_sd(two, False)
        if one.kind == "cor":
            return self._correlation(one, np.nan), self._correlation(two, np.nan)
        return ThetaItself(_known(i)), ThetaItself(_known(j))

    def _place(self, p: Parameter) -> int | None:
        """Return which θ a parameter is, relative to σ, if it is one."""
        own = self._covariance.terms[p.term].structure.place(p.columns)
        return None if own is None else self._covariance.slices[p.term].start + own

    def _unit(self, p: Parameter) -> float:
        """Return the unit of a range."""
        unit = self._covariance.terms[p.term].structure.range_unit
        assert unit is not None
        return unit

    def _log_sd(self, p: Parameter, absolute: bool) -> Quantity:
        place = self._place(p)
        if place is None:
            return LogSd(p.term, p.columns[0], absolute)
        return LogTheta(place, absolute)

    def _correlation(self, p: Parameter, value: float) -> Quantity:
        """Return a correlation, or what is zero with it and never undefined."""
        place = self._place(p)
        if place is not None:
            return ThetaItself(place)
        b, a = sorted(p.columns)
        linear = self._covariance.terms[p.term].structure.linear
        if value == 0.0 and linear and (p.term, a, b) in self._zeros:
            return ThetaItself(self._entry(p.term, a, b))
        return Correlation(p.term, (b, a))

    def _entry(self, term: int, a: int, b: int) -> int:
        """Return which θ the entry T_ab of a linear structure is."""
        structure = self._covariance.terms[term].structure
        rows, columns = structure.entries  # type: ignore[attr-defined]
        (at,) = np.flatnonzero((rows == a) & (columns == b))
        return self._covariance.slices[term].start + int(structure.owners[at])  # type: ignore[attr-defined]

    def _entries_of(self, p: Parameter) -> list[int]:
        """Return the θ that are zero with a standard deviation."""
        structure = self._covariance.terms[p.term].structure
        if not structure.linear or structure.one_variance:
            return [_known(self._place(p))]
        rows, columns = structure.entries  # type: ignore[attr-defined]
        own = np.flatnonzero((rows == p.columns[0]) | (columns == p.columns[0]))
        start = self._covariance.slices[p.term].start
        return [start + int(structure.owners[j]) for j in own]  # type: ignore[attr-defined]


def _known(place: int | None) -> int:
    assert place is not None
    return place


def _names(design: Design) -> dict[str, Parameter]:
    """Return the parameters by every name that tables and profiles give them."""
    out: dict[str, Parameter] = {}
    for p in (*model_parameters(design), *strata_of(design)):
        if p.kind == "beta":
            continue
        for name in (p.name, *_short_names(design, p)):
            out.setdefault(name, p)
    return out


def _short_names(design: Design, p: Parameter) -> Iterator[str]:
    """Yield the names with dots: term, then column or columns, or what the term calls it."""
    if p.kind == "sigma":
        yield from _SIGMA
        return
    if p.kind in OF_RESIDUALS:
        yield from short_names(design, p)
        return
    term = design.terms[p.term]
    if p.kind == "sd":
        variances = term.variances
        yield f"{term.name}.{variances[0] if term.kind.one_variance else variances[p.columns[0]]}"
        if len(variances) == 1:
            yield f"{term.name}.sd"
        return
    if p.kind == "range":
        yield f"{term.name}.range"
        return
    label = next(name for name, pair in term.correlations if pair == p.columns)
    if term.kind.linear:
        one, two = (term.columns[j] for j in p.columns)
        yield f"{term.name}.{one}.{two}"
        yield f"{term.name}.{two}.{one}"
    else:
        yield f"{term.name}.{label}"


def _find(name: Any, names: Mapping[str, Parameter], argument: str) -> Parameter:
    """Return the parameter of a name."""
    if isinstance(name, str) and name in names:
        return names[name]
    known = list(dict.fromkeys(p.name for p in names.values()))
    raise FitError(
        f"{argument}= names {name!r}, which is no parameter of the random effects or residuals."
        f"{did_you_mean(str(name), list(names))} There are {', '.join(map(repr, known))}."
    )


def _read_fix(fix: Any, names: Mapping[str, Parameter], design: Design) -> dict[Parameter, float]:
    """Return the values by parameter."""
    if fix is None:
        return {}
    if not isinstance(fix, Mapping):
        raise FitError(
            f"fix={shown(fix)} is no mapping. Write fix={{{next(iter(names))!r}: 1.0}}, for "
            "example."
        )
    out: dict[Parameter, float] = {}
    for name, value in fix.items():
        p = _find(name, names, "fix")
        if p in out:
            raise FitError(f"fix= has {p.name!r} twice, under two names. Leave one out.")
        out[p] = _value(p, value)
        if p.kind in OF_RESIDUALS:
            assert design.residual is not None
            check_range(p, out[p], design.residual)
    return out


def _value(p: Parameter, value: Any) -> float:
    """Return a value that a parameter can have."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or np.isnan(value):
        raise FitError(f"fix= gives {p.name!r} the value {shown(value)}. Pass a number.")
    found = float(value)
    if p.kind == "cor" and not -1.0 <= found <= 1.0:
        raise FitError(f"{p.name!r} is a correlation and cannot be {found:g}.")
    if p.kind == "sigma" and not 0.0 < found < np.inf:
        raise FitError(f"sigma cannot be {found:g}. Pass a positive number.")
    if p.kind in ("sd", "range") and (found < 0.0 or (p.kind == "sd" and np.isinf(found))):
        raise FitError(f"{p.name!r} is {_KINDS[p.kind]} and cannot be {found:g}.")
    return found


def _read_equal(equal: Any, names: Mapping[str, Parameter]) -> list[list[Parameter]]:
    """Return the sets of parameters that are equal."""
    if equal is None:
        return []
    example = "equal=[('Subject.Intercept', 'Item.Intercept')]"
    if isinstance(equal, str) or not isinstance(equal, Sequence):
        raise FitError(f"equal={shown(equal)} is no list of sets of names. Write {example}.")
    given = [equal] if all(isinstance(own, str) for own in equal) and equal else list(equal)
    out = []
    for own in given:
        if isinstance(own, str) or not isinstance(own, Sequence | set | frozenset):
            raise FitError(f"equal= has {shown(own)}, no set of names. Write {example}.")
        found = list(dict.fromkeys(_find(name, names, "equal") for name in own))
        if len(found) < 2:
            raise FitError(f"equal= has {shown(own)}: one parameter is equal to itself. Name two.")
        kinds = {_KINDS[p.kind] for p in found}
        if len(kinds) > 1:
            one = next(p for p in found if _KINDS[p.kind] != _KINDS[found[0].kind])
            raise FitError(
                f"{found[0].name!r} is {_KINDS[found[0].kind]} and {one.name!r} is "
                f"{_KINDS[one.kind]}: they cannot be equal."
            )
        out.append(found)
    return out


def _known_sigma(values: Mapping[Parameter, float], sigma: float | None) -> float | None:
    """Return the residual standard deviation if it is given in either way."""
    fixed = next((value for p, value in values.items() if p.kind == "sigma"), None)
    if fixed is not None and sigma is not None and fixed != sigma:
        raise FitError(f"sigma is {sigma:g} by sigma= and {fixed:g} by fix=. Leave one out.")
    return sigma if fixed is None else fixed
