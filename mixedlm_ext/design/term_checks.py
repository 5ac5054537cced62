"""Whether the data support a random term: each refusal names the term and a way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixedlm_ext.design.checks import widest_factor
from mixedlm_ext.design.facts import FactsOfPair, RowsOfPair
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.design.records import TermDesign
from mixedlm_ext.errors import DesignError

__all__ = ["check_levels", "check_term", "repeated_column"]


def check_term(
    term: TermDesign, checks: Checks | None = None, *, allow_saturated: bool = False
) -> None:
    """Refuse a random term that the data cannot tell from the residual or from itself.

    Parameters
    ----------
    term : TermDesign
    checks : Checks, optional
        What to do with what is found: "levels" and "slopes".
    allow_saturated : bool
        Accept as many random effects as observations: right when sigma is known.
    """
    checks = Checks() if checks is None else checks
    _check_structure(term)
    check_levels(term, checks, allow_saturated=allow_saturated)
    _check_columns(term, checks)


def _check_structure(term: TermDesign) -> None:
    """Refuse columns that the covariance structure of a term is not made for."""
    kind, k = term.kind, len(term.columns)
    if k < kind.least_columns and kind.placed:
        raise DesignError(
            f"{term.text} has one position in the data; distances need two.\n"
            f"Write (1 | {term.group})."
        )
    if k < kind.least_columns:
        column = term.columns[0]
        left = "1" if column == "Intercept" else f"0 + {column}"
        raise DesignError(
            f"{term.text} has one column; a correlation needs two.\nWrite ({left} | {term.group}), "
            f"or {kind.word}(0 + C(x) | {term.group}) with a factor before the bar."
        )
    if not kind.ordered:
        return
    if not term.facts.indicators:
        found = (
            "an intercept beside others"
            if "Intercept" in term.columns
            else "columns that are no indicators"
        )
        raise DesignError(
            f"{term.text} has {found}; its columns must be the levels of one factor in their "
            "order, such as occasions.\nWrite 0 + and the factor before the bar, 0 + C(x) for "
            "numbers x."
        )


def check_levels(
    term: TermDesign, checks: Checks | None = None, *, allow_saturated: bool = False
) -> None:
    """Compare the numbers of levels, of random effects and of observations."""
    found = _too_few(term, allow_saturated)
    if found:
        (checks or Checks()).report("levels", DesignError(found))


def _too_few(term: TermDesign, allow_saturated: bool) -> str:
    """Say what is wrong with the numbers of levels and random effects; "" if nothing is."""
    n, k, q = term.facts.n, len(term.columns), len(term.levels)
    what = f"grouping factor {term.group!r}"
    if q == 1 and not term.kind.one_level:
        return (
            f"{what} has only one level ({quoted(term.levels[0])}); "
            "a variance needs at least two.\n"
            f"Use another factor or drop {term.text}."
        )
    related = term.related.among if term.has_members and term.related else term.related
    # what relatives share tells effects and residuals apart, however many levels there are
    if related is not None and not related.is_identity:
        return ""
    if _one_level_a_column(term):
        return (
            f"each column of {term.text} differs from zero in one level of {term.group!r} only; "
            f"a variance needs at least two.\nWrite (1 | {term.group})."
        )
    if allow_saturated:
        return ""
    if q == n:
        kind = "intercept" if term.columns == ("Intercept",) else "effect"
        return (
            f"{what} has {q} levels for {n} observations; "
            f"a random {kind} needs repeated levels.\n"
            f"Use a coarser factor or drop {term.text}. With known variances, as in a "
            "meta-analysis, pass weights=1/variance and fit(sigma=1)."
        )
    # independent columns are told apart one by one, as lme4 does for ||
    effects = q * k if term.kind.whitening == "triangular" else q
    if n <= effects:
        return (
            f"{term.text} has {effects} random effects ({k} for each of {q} levels) "
            f"for {n} observations; their covariance and the residual variance are not "
            f"identifiable.\n{widest_factor(term.columns) if k > 3 else ''}"
            f"Use fewer columns, such as (1 | {term.group})."
        )
    return ""


def _one_level_a_column(term: TermDesign) -> bool:
    """Whether variances of single columns rest on one random effect each: (f || f)."""
    columns = [j for j, name in enumerate(term.columns) if name != "Intercept"]
    tied = term.kind.correlated or term.kind.one_variance
    if not columns or (tied and len(term.columns) > 1):
        return False
    return bool(term.facts.in_one_level[columns].all())


def _check_columns(term: TermDesign, checks: Checks) -> None:
    """Refuse a slope that is constant, and columns that are combinations of one another."""
    low, high = term.facts.low, term.facts.high
    if term.kind.one_variance:
        if not (low.any() or high.any()):
            raise DesignError(f"all columns of {term.text} are zero in the data. Drop the term.")
        return
    for name, lowest, highest in zip(term.columns, low, high, strict=True):
        if name != "Intercept" and lowest == highest:
            intercept = f"A random intercept is (1 | {term.group})."
            advice = "Drop it." if "Intercept" in term.columns else intercept
            found = f"random slope {name!r} of {term.text} is constant ({lowest:g}) in the data."
            error = DesignError(f"{found} {advice}")
            if "Intercept" in term.columns or lowest == 0:
                raise error
            checks.report("slopes", error)
    dependent = _dependent_column(term)
    if dependent is not None:
        j, before = dependent
        rest = [i for i in range(j + 1) if term.columns[i] != "Intercept"]
        without = len(independent_columns(term.facts.root[:, rest])) == len(rest) <= j
        advice = "Drop it, or the intercept with 0 + ... before the bar." if without else "Drop it."
        raise DesignError(
            f"random slope {term.columns[j]!r} of {term.text} is a combination of the columns "
            f"before it ({', '.join(repr(term.columns[i]) for i in before)}). {advice}"
        )


def _dependent_column(term: TermDesign) -> tuple[int, Sequence[int]] | None:
    """A column without a variance of its own, and the columns before that make it up."""
    k, X = len(term.columns), term.facts.root
    if term.kind.whitening == "triangular":
        rest = set(range(k)).difference(independent_columns(X).tolist())
        return (min(rest), range(min(rest))) if rest else None
    # one variance a column: only proportional columns cannot be told apart
    for j in range(k):
        for i in range(j):
            if len(independent_columns(X[:, [i, j]])) < 2:
                return j, [i]
    return None


def repeated_column(
    terms: Sequence[TermDesign], known: Mapping[tuple[int, int], FactsOfPair] | None = None
) -> tuple[int, str, str] | None:
    """Find a column that two terms give to the same groups of rows.

    Parameters
    ----------
    terms : sequence of TermDesign
    known : mapping of (int, int) to FactsOfPair, optional
        What is known of the rows of each pair of terms, the later one first, where they are not
        here.

    Returns
    -------
    tuple of (int, str, str) or None
        Position of the second term, what is wrong, and what to do about it.
    """
    for i, term in enumerate(terms):
        for j, other in enumerate(terms[:i]):
            facts = _facts_of_pair(term, other) if known is None else known[i, j]
            found = _repeated_in(term, other, facts)
            if found:
                return i, *found
    return None


def _facts_of_pair(term: TermDesign, other: TermDesign) -> FactsOfPair:
    """Return the facts of two terms whose rows are here."""
    return RowsOfPair((term.X, term.codes, term.n_codes), (other.X, other.codes, other.n_codes))


def _repeated_in(term: TermDesign, other: TermDesign, facts: FactsOfPair) -> tuple[str, str] | None:
    """Say what is wrong with two terms, and what to do about it."""
    if term.related is not other.related or not facts.same_groups:
        return None
    if any(kind.one_variance or not kind.linear for kind in (term.kind, other.kind)):
        # variances of several columns are told apart unless all columns are the same
        k = len(term.columns)
        if k == len(other.columns) and np.diag(facts.equal).all():
            return _repetition(term.variances[0], term, other), f"Remove {term.text}."
        return None
    for name, same in zip(term.columns, facts.equal, strict=True):
        if same.any():
            return _repetition(name, term, other), _without_column(name, term, other)
    return None


def _repetition(name: str, term: TermDesign, other: TermDesign) -> str:
    """Say that a column is in two terms."""
    if set(term.group.split(":")) == set(other.group.split(":")):
        return f"{name!r} is in two random terms of {term.group!r}"
    return (
        f"{name!r} is in two random terms of the same groups: {other.group!r} and {term.group!r} "
        "divide the rows in the same way"
    )


def _without_column(name: str, term: TermDesign, other: TermDesign) -> str:
    """How to write a term without a column that another one has."""
    rest = [column for column in term.columns if column != name]
    if not rest and len(other.columns) == 1 and term.text != other.text:
        return f"Remove {term.text} or {other.text}."
    if name == "Intercept" and rest:
        return f"Write (0 + {' + '.join(rest)} | {term.group})."
    return f"Remove {name!r} from {term.text} or from {other.text}."
