"""Which random terms of a formula have levels with a known covariance, and which it is."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.pedigree import pedigree
from mixedlm_ext.design.read_known import known_matrix
from mixedlm_ext.design.records import TermSpec
from mixedlm_ext.errors import DesignError, FormulaError, did_you_mean
from mixedlm_ext.language.mixed_formula import MixedFormula, RandomTermSpec

__all__ = ["EarlierMatrices", "known_of_terms"]


def known_of_terms(
    formula: MixedFormula, given: Mapping[str, Any] | None, env: Mapping[str, Any]
) -> list[KnownMatrix | None]:
    """Return the known covariance of the levels of each random term, None for most.

    Parameters
    ----------
    formula : MixedFormula
    given : mapping of str to matrix, optional
        The argument ``cov=``. A key is a name that stands in the formula, ``A`` of
        ``gr(id, cov=A)``, or a grouping factor: that of ``gr(id)``, or of an only term
        ``(1 | id)``.
    env : mapping of str to object
        Variables of the caller's scope.

    Raises
    ------
    FormulaError
        If a matrix is not found.
    DesignError
        If something is no such matrix, or a key is of no use.
    """
    if given is not None and not isinstance(given, Mapping):
        raise DesignError(
            f"cov= is a {type(given).__name__}. Pass a mapping of grouping factor to matrix, as in "
            'cov={"id": A}.'
        )
    if not given and not any(_is_known(spec) for spec in formula.random):
        return [None] * len(formula.random)
    finder = _Finder(formula, given or {}, env)
    out = [finder.of(spec) for spec in formula.random]
    finder.refuse_unused()
    return out


class EarlierMatrices(dict[str, KnownMatrix]):
    """The matrices of a model that is changed: the new formula may use fewer of them."""

    @classmethod
    def of(cls, formula: MixedFormula, terms: Sequence[TermSpec]) -> EarlierMatrices | None:
        """Return those of the terms of a formula, None if there are none."""
        out = cls()
        for spec, term in zip(formula.random, terms, strict=True):
            known = term.related
            if known is not None and term.has_members:
                known = known.among
            if known is not None:
                code = spec.call.known if spec.call is not None else ""
                out[code or spec.group_name] = known
        return out or None


def _is_known(spec: RandomTermSpec) -> bool:
    """Say whether a term names a matrix: ``gr(id)``, or ``mm(g1, g2, cov=A)``."""
    return spec.call is not None and (spec.call.name == "gr" or bool(spec.call.known))


def _with_matrix(spec: RandomTermSpec) -> str:
    """Return the grouping factor of an ordinary term as one that has a matrix A."""
    name = spec.group_name
    return f"gr({name})" if spec.call is None else f"{name[:-1]}, cov=A)"


class _Finder:
    """Looks matrices up; each is read once, so that terms share it."""

    def __init__(
        self, formula: MixedFormula, given: Mapping[str, Any], env: Mapping[str, Any]
    ) -> None:
        self.formula, self.given, self.env = formula, given, env
        self.used: set[str] = set()
        self.read: dict[tuple[str, bool, str], KnownMatrix] = {}

    def of(self, spec: RandomTermSpec) -> KnownMatrix | None:
        """Return the matrix of one term."""
        if not _is_known(spec):
            return self._of_plain(spec)
        assert spec.call is not None
        word = "prec" if spec.call.inverse else "cov"
        code = spec.call.known
        if code in self.given:
            return self._known(code, f"{word}={code}", spec)
        if code:
            try:
                value = self._evaluate(code, spec)
            except NameError:
                if spec.group_name not in self.given:
                    raise self._unknown(code, word, spec) from None
            else:
                self._check_same(code, word, value, spec)
                return self._matrix((code, spec), value, f"{word}={code}")
        if spec.group_name in self.given:
            return self._known(spec.group_name, f"cov[{spec.group_name!r}]", spec)
        raise FormulaError(
            f"gr({spec.group_name}) has no matrix",
            self.formula.text,
            spec.group_span,
            f"Write gr({spec.group_name}, cov=A), or pass cov={{{spec.group_name!r}: A}}.",
        )

    def _check_same(self, code: str, word: str, value: Any, spec: RandomTermSpec) -> None:
        """Take a matrix that is named in the formula and given for its factor; refuse another."""
        name = spec.group_name
        if name not in self.given:
            return
        self.used.add(name)
        given = self.given[name]
        alike = isinstance(given, pd.DataFrame) and isinstance(value, pd.DataFrame)
        if value is not given and not (alike and given.equals(value)):
            raise FormulaError(
                f"{word}={code} is one matrix for {name}, and cov[{name!r}] another",
                self.formula.text,
                spec.group_span,
                f"Leave out one of them, or name it: cov={{{code!r}: matrix}}.",
            )

    def _of_plain(self, spec: RandomTermSpec) -> KnownMatrix | None:
        """Return the matrix given for the factor of another term, if none names it."""
        name = spec.group_name
        if name not in self.given:
            return None
        same = [other for other in self.formula.random if other.group_name == name]
        if any(_is_known(other) for other in same):
            return None
        if len(same) > 1:
            raise FormulaError(
                f"cov[{name!r}] is given and {len(same)} random terms are of {name!r}",
                self.formula.text,
                spec.span,
                f"Write (1 | {_with_matrix(spec)}) for the term that has the matrix.",
            )
        return self._known(name, f"cov[{name!r}]", spec)

    def _known(self, key: str, what: str, spec: RandomTermSpec) -> KnownMatrix:
        self.used.add(key)
        return self._matrix((key, spec), self.given[key], what)

    def _matrix(self, of: tuple[str, RandomTermSpec], value: Any, what: str) -> KnownMatrix:
        """Read a matrix once for every factor."""
        code, spec = of
        members = spec.call is not None and spec.call.name == "mm"
        if len(spec.group) > 1 and not members:
            raise FormulaError(
                f"{what} is for the levels of one factor, not of {spec.group_name}",
                self.formula.text,
                spec.group_span,
                "Make a column of the combinations, and name its values in the matrix.",
            )
        inverse = spec.call is not None and spec.call.inverse
        key = (code, inverse, spec.group_name)
        if key not in self.read:
            earlier = isinstance(self.given, EarlierMatrices)
            known = known_matrix(value, what, inverse=inverse and not earlier)
            self.read[key] = known.renamed(spec.group_name)
        return self.read[key]

    def _evaluate(self, code: str, spec: RandomTermSpec) -> Any:
        """Return the value of the code in the caller's scope."""
        names = {**vars(builtins), "pedigree": pedigree, **self.env, **self.given}
        try:
            value = eval(code, {"__builtins__": {}}, names)  # what the user wrote into the formula
        except NameError:
            raise
        except Exception as error:
            raise FormulaError(
                f"{code} cannot be evaluated: {error}",
                self.formula.text,
                spec.group_span,
                "Make the matrix before, and name it in the formula.",
            ) from error
        self.used.update(name for name in self.given if name in code)
        return value

    def _unknown(self, code: str, word: str, spec: RandomTermSpec) -> FormulaError:
        near = did_you_mean(code, [*self.given, *self.env])
        return FormulaError(
            f"there is no variable {code!r} for {word}=",
            self.formula.text,
            spec.group_span,
            f"Define it before, or pass cov={{{code!r}: matrix}}.{near}",
        )

    def refuse_unused(self) -> None:
        """Refuse a key that no term takes."""
        unused = [key for key in self.given if key not in self.used]
        if unused and not isinstance(self.given, EarlierMatrices):
            groups = list(dict.fromkeys(spec.group_name for spec in self.formula.random))
            raise DesignError(
                f"cov= has a matrix for {unused[0]!r}, which is no grouping factor of the formula "
                f"(there are {list_names(groups)}).{did_you_mean(str(unused[0]), groups)}"
            )
