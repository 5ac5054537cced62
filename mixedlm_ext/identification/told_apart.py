"""Refuse variance parameters that no data of this design could tell, in the user's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.design.grouping import same_partition
from mixedlm_ext.errors import DesignError
from mixedlm_ext.identification.directions import Image, inside_fixed
from mixedlm_ext.identification.parameters import (
    Parameter,
    first_few,
    in_user_columns,
    in_words,
    involved,
    listed,
    parameters,
)
from mixedlm_ext.linalg.orthogonal import constant_coefficients
from mixedlm_ext.structures.base import Structure

Array = NDArray[np.float64]

__all__ = ["check_identified", "check_told_from_residual", "redundant_parameters"]

_FIT_ANYWAY = "To fit it all the same, pass check={'identified': 'warn'}."
_MOST_CELLS = 1e7
"""Numbers that are read again to say in words why parameters cannot be told apart."""
_SAME = 1e-6
"""Difference of numbers of order one that counts as rounding."""


def check_identified(design: Design, problem: Problem) -> None:
    """Refuse variances and covariances that the data cannot show even if sigma is known.

    Parameters
    ----------
    design : Design
        Its `checks` say whether to raise, to warn or to say nothing: "identified" for parameters
        that the fixed part hides and for those of one term, "redundant" for those of several
        terms whose sum is seen.
    problem : Problem
        Assembled from the design.

    Raises
    ------
    DesignError
    """
    if design.checks["identified"] == design.checks["redundant"] == "ignore":
        return
    hidden = [t for t in range(len(design.terms)) if _is_inside(design, problem, t)]
    if hidden or problem.covariance.n_theta <= 1:
        return
    image = Image(problem, residual=False)
    unseen = image.null_space()
    if not unseen.shape[1]:
        return
    own = [_is_unseen(design, problem, image, t) for t in range(len(design.terms))]
    if not any(own):
        _check_between_terms(design, problem, unseen)


def check_told_from_residual(design: Design, problem: Problem) -> None:
    """Refuse variances that cannot be told from the residual's, which is unknown.

    Parameters
    ----------
    design : Design
    problem : Problem
        Assembled from the design.

    Raises
    ------
    DesignError

    Notes
    -----
    Random effects that stand for the residual too reproduce every contrast: there are at least
    n - p of them.
    """
    _check_alike_twice(design)
    cp = problem.cp
    relaxed = design.checks["levels"] != "error"  # then as many effects as rows are what was asked
    if not cp.q or relaxed or cp.q < cp.n - cp.p or design.checks["identified"] == "ignore":
        return
    directions = in_user_columns(problem.covariance, Image(problem, residual=True).null_space())
    with_residual = directions @ _row_space(directions[-1:])
    if with_residual.shape[1]:
        names = _names(design, problem, with_residual)
        _report(
            design,
            f"the data cannot tell {names} apart: the random effects can stand for the residuals "
            "too.\nDrop a random effect, or pass fit(sigma=...) if sigma is known.",
        )


def _check_alike_twice(design: Design) -> None:
    """Refuse an intercept of each level beside residuals of a level with one correlation."""
    structure = design.residual
    if structure is None or structure.kind is None or structure.kind.by_distance:
        return
    assert structure.correlation is not None
    for t, term in enumerate(design.terms):
        if term.related is not None:  # relatives are alike beyond one level
            continue
        c = _ones_of_groups(design, t)
        if c is not None and _may_grow_along(term.kind, c):
            _report(
                design,
                f"the random intercept of {term.text} and {structure.correlation.text} of the "
                f"residuals both say that rows of one {term.group} are alike, so that the data "
                "cannot tell them apart.\nLeave one of them out.",
            )


def _ones_of_groups(design: Design, t: int) -> Array | None:
    """Return what makes the columns of a term one, if its levels are the groups of residuals."""
    if design.rows.elsewhere is not None:
        return design.rows.elsewhere.alike[t]
    term, rows, structure = design.terms[t], design.residual_rows, design.residual
    assert rows is not None and rows.codes is not None
    assert structure is not None and structure.correlation is not None
    groups = len(structure.correlation.levels)
    if len(term.levels) != groups or not same_partition(term.codes, rows.codes, groups):
        return None
    return constant_coefficients(term.X)


def _may_grow_along(structure: Structure, c: Array) -> bool:
    """Say whether Γ + εcc' is a covariance of the structure, to the first order in ε."""
    low, high = structure.domain
    generic = structure.start() + 0.05 * np.arange(1.0, structure.n_theta + 1) / structure.n_theta
    changes = structure.gamma_derivatives(np.clip(generic, low, high))
    columns = changes.reshape(len(changes), -1).T
    wanted = np.outer(c, c).ravel()
    found, *_ = np.linalg.lstsq(columns, wanted, rcond=None)
    left = columns @ found - wanted
    return float(np.linalg.norm(left)) < 1e-6 * float(np.linalg.norm(wanted))


def redundant_parameters(design: Design, problem: Problem) -> str:
    """Name the variance parameters of several terms of which only combinations are seen, or ""."""
    if len(design.terms) == 1:
        return ""
    unseen = Image(problem, residual=False, fixed=False).null_space()
    return _names(design, problem, in_user_columns(problem.covariance, unseen))


def _report(design: Design, text: str) -> None:
    """Raise, or warn of, what check "identified" found."""
    more = f" {_FIT_ANYWAY}" if design.checks["identified"] == "error" else ""
    design.checks.report("identified", DesignError(text + more))


# --- columns within the fixed part ----------------------------------------------------------------


def _is_inside(design: Design, problem: Problem, t: int) -> bool:
    """Refuse a term some combination of whose columns the fixed effects have at every level."""
    combinations = inside_fixed(problem, t)
    # one column that is not inside is enough to see a variance that all columns share
    enough = combinations.shape[0] if design.terms[t].kind.one_variance else 1
    if combinations.shape[1] < enough:
        return False
    term, lengths = design.terms[t], problem.cp.layout.places[t].lengths
    what, lie, instead = _inside_names(term, combinations, lengths)
    _report(
        design,
        f"{what} of {term.text} {lie} within the fixed part: a coefficient for every level of "
        f"{term.group!r} is there already, so that no variance is left to estimate.\n"
        f"Drop {_fixed_culprit(design, term)} from the fixed part, or {instead}.",
    )
    return True


def _inside_names(term: TermDesign, W: Array, lengths: Array) -> tuple[str, str, str]:
    """Name what lies within the fixed part, the verb, and what to drop of the random term."""
    Q = np.linalg.qr(W)[0]
    share = np.einsum("kd,kd->k", Q, Q)
    whole = [term.columns[j] for j in np.flatnonzero(share > 1.0 - _SAME)]
    if len(whole) == len(term.columns):
        return listed([*map(repr, whole)]), "lies" if len(whole) == 1 else "lie", term.text
    if whole:
        names = listed([*map(repr, whole)])
        return names, "lies" if len(whole) == 1 else "lie", f"{names} from the term"
    parts = np.flatnonzero(share > _SAME)
    weights = W[parts, 0] / lengths[parts]
    is_sum = W.shape[1] == 1 and np.ptp(weights) < _SAME * np.abs(weights).max()
    names = listed([repr(term.columns[j]) for j in parts])
    return f"{'the sum' if is_sum else 'a combination'} of {names}", "lies", "one of these columns"


def _fixed_culprit(design: Design, term: TermDesign) -> str:
    """Name what to take out of the fixed part: the grouping factor, if it is there by name."""
    named = any(
        all(factor in name for factor in term.group.split(":")) for name in design.all_x_names
    )
    return repr(term.group) if named else f"what tells the levels of {term.group!r} apart"


# --- parameters of one term -----------------------------------------------------------------------


def _is_unseen(design: Design, problem: Problem, image: Image, t: int) -> bool:
    """Refuse a term whose own covariance the data do not show."""
    covariance = problem.covariance
    part = covariance.slices[t]
    unseen = image.null_space(part)
    if not unseen.shape[1]:
        return False
    whole = np.zeros((covariance.n_theta, unseen.shape[1]))
    whole[part] = unseen
    directions = in_user_columns(covariance, whole)
    entries = [parameters(covariance, residual=False)[i] for i in involved(directions)]
    _report(design, _unseen_text(_with_rows(design).terms[t], entries, unseen.shape[1]))
    return True


def _with_rows(design: Design) -> Design:
    """Return the design with its rows, as far as there are not too many to read them again."""
    elsewhere = design.rows.elsewhere
    gathered = None if elsewhere is None else elsewhere.gathered(_MOST_CELLS)
    return design if gathered is None else gathered


def _unseen_text(term: TermDesign, entries: Sequence[Parameter], d: int) -> str:
    """Say which parameters of a term are not seen."""
    names = in_words([replace(entry, t=0) for entry in entries], [term])
    alone = d == len(entries)
    what = (
        f"the data say nothing about {names} of {term.text}"
        if alone
        else f"the data cannot tell {names} of {term.text} apart"
    )
    return f"{what}: {_why_unseen(term, entries, d)}"


def _why_unseen(term: TermDesign, entries: Sequence[Parameter], d: int) -> str:
    """Say why d directions of some parameters of a term are not seen, and what to write."""
    simpler = f"Use fewer columns, such as (1 | {term.group})."
    if d == len(entries) and all(_is_apart(term, entry) for entry in entries):
        pairs = "both" if d == 1 else "both columns of any of these pairs"
        independent = f"Write {term.text.replace('|', '||', 1)} to leave the covariances out."
        # with one level a column, a variance for each would rest on one random effect
        advice = independent if len(term.levels) > len(term.columns) else simpler
        return f"no level of {term.group!r} has rows of {pairs}.\n{advice}"
    columns = sorted({j for entry in entries for j in (entry.a, entry.c)})
    if _are_constant_within(term, columns):
        slopes = [repr(term.columns[j]) for j in columns if term.columns[j] != "Intercept"]
        whole = len(columns) == len(term.columns)
        advice = (
            f"Write (1 | {term.group})." if whole else f"Drop {first_few(slopes)} from the term."
        )
        return (
            f"{first_few(slopes)} {'is' if len(slopes) == 1 else 'are'} constant within "
            f"every level of {term.group!r}.\n{advice}"
        )
    seen = len(entries) - d
    if not seen:
        them = "it" if d == 1 else "them"
        return f"the fixed part leaves nothing that would show {them}.\n{simpler}"
    combinations = "one combination is" if seen == 1 else f"{seen} combinations are"
    return f"of these {len(entries)} parameters {combinations} seen.\n{simpler}"


def _is_apart(term: TermDesign, entry: Parameter) -> bool:
    """Whether an entry is the covariance of two columns that never meet in one level."""
    q = term.n_codes
    if not len(term.codes):
        return False
    a, c = (np.bincount(term.codes, term.X[:, j] != 0, q) > 0 for j in (entry.a, entry.c))
    return not (a & c).any()


def _are_constant_within(term: TermDesign, columns: Sequence[int]) -> bool:
    """Whether some columns do not vary within any level."""
    if not len(term.codes):
        return False
    first = np.empty(term.n_codes, dtype=np.intp)
    first[term.codes[::-1]] = np.arange(len(term.codes))[::-1]
    X = term.X[:, columns]
    return bool(np.array_equal(X, X[first[term.codes]]))


# --- parameters of several terms ------------------------------------------------------------------


def _check_between_terms(design: Design, problem: Problem, unseen: Array) -> None:
    """Report parameters of different terms that cannot be told apart.

    Where the whole covariance of the data is the same along the direction, estimates, tests and
    predictions are too: the terms are redundant. Where only the fixed part makes it look the same,
    the standard errors of the fixed effects depend on the direction.
    """
    names = _names(design, problem, in_user_columns(problem.covariance, unseen))
    told = f"the data cannot tell {names} apart: only combinations of them are seen."
    always = Image(problem, residual=False, fixed=False).null_space()
    if always.shape[1] == unseen.shape[1]:
        design.checks.report("redundant", DesignError(f"{told}\nDrop one of these terms."))
    else:
        advice = "Drop one of these terms, or what hides them from the fixed part."
        _report(design, f"{told}\n{advice}")


def _names(design: Design, problem: Problem, directions: Array) -> str:
    """Name the parameters that an orthonormal basis of directions changes."""
    every = parameters(problem.covariance, residual=len(directions) > problem.covariance.n_theta)
    entries = [every[i] for i in involved(directions)]
    return in_words(entries, design.terms) if entries else ""


def _row_space(row: Array) -> Array:
    """Return a basis (d, 1) of the combinations of directions that change one parameter, (d, 0)."""
    size = np.linalg.norm(row)
    return row.T / size if size > _SAME else np.zeros((row.shape[1], 0))
