"""The sums of several sites are those of their rows together: levels merged by label.

Each site has its own basis of X, and its own whitening of each term. Any of them would serve for
all; what serves best is found from the triangles of all sites below one another. With X = Q_kR_k at
site k, the least-squares β₀ of all rows solves

    min Σ_k |U_k(R_kβ - R_kβ_k) - U_k⁻ᵀ Q_k'W(y - Xβ_k)|²,    U_k'U_k = Q_k'WQ_k
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt

from mixedlm_ext.batches.facts import RowFacts
from mixedlm_ext.batches.levels import GroupCoder, coder_of, values_of_levels
from mixedlm_ext.batches.reading import Tally
from mixedlm_ext.batches.summing import Summed, blocks_of_groups
from mixedlm_ext.errors import DataError
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.basis import Basis, column_basis, term_basis
from mixedlm_ext.products.batches import Counts
from mixedlm_ext.products.layout import Layout, Place
from mixedlm_ext.products.moves import moved, with_levels
from mixedlm_ext.products.noise import EqualVariances
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.sites.coding import differences, parsed
from mixedlm_ext.sites.sums import Groups, SiteSums, specs_of

__all__ = ["added_tallies", "pooled", "without"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_NOTHING = 1e-12
"""Eigenvalue, relative to the largest, up to which rows say nothing in a direction."""
_NONE = 1e-14
"""The same of a length that comes of rounding."""
_GONE = 1e-8
"""Share of a column's length up to which nothing but rounding is left of its square."""


def pooled(sites: Sequence[SiteSums], names: Sequence[str]) -> SiteSums:
    """Add the sums of sites.

    Parameters
    ----------
    sites : sequence of SiteSums
    names : sequence of str
        What they are called in messages.

    Raises
    ------
    DataError
        If they are coded in different ways.
    """
    first = sites[0]
    for site, name in zip(sites[1:], names[1:]):
        found = differences(first.coding, site.coding)
        if found:
            raise DataError(f"{name} cannot be added to {names[0]}: it has {found}.")
    if len(sites) == 1:
        return first
    groups, codes = _pooled_groups(sites)
    roots = [_triangle([site.roots[i] for site in sites]) for i in range(len(first.roots))]
    layout = _layout(sites, groups, roots)
    parts = [_moved(site, layout, own) for site, own in zip(sites, codes)]
    facts = _no_facts(first, groups)
    for site, own in zip(sites, codes):
        facts.absorb(site.summed.facts, [own[key] for key in first.keys])
    total = reduce(add, (cp for cp, _ in parts))
    counts = [np.sum(own, axis=0) for own in zip(*(counts for _, counts in parts))]
    tally = added_tallies([site.summed.tally for site in sites])
    summed = Summed(total, facts, tally, Counts(counts, {}))
    return SiteSums(first.coding, groups, summed, roots)


def without(whole: SiteSums, part: SiteSums) -> SiteSums:
    """Take the rows of a part away; levels without rows go, too.

    Raises
    ------
    DataError
        If the part is no part.
    """
    found = differences(whole.coding, part.coding)
    if found:
        raise DataError(f"the summary that withdraws has {found}: it is no part of the other.")
    codes = {key: _codes_in(whole.groups[key], group) for key, group in part.groups.items()}
    left = whole.summed.products.n - part.summed.products.n
    if left <= 0 or any((own < 0).any() for own in codes.values()):
        raise DataError(
            "the summary that withdraws has levels or rows that the other has not: it is no part "
            "of it, or leaves nothing."
        )
    layout = whole.summed.products.layout
    cp, counts = _moved(part, layout, codes)
    total = whole.summed.products - cp
    rows = [a - b for a, b in zip(_counts(whole), counts)]
    if any((own < 0).any() for own in rows):
        raise DataError(
            "the summary that withdraws has more rows of a level than the other: it is no part."
        )
    kept = [np.flatnonzero(own) for own in rows]
    blocks = {key: layout.places[i].block for i, key in enumerate(whole.keys)}
    groups = {key: _kept(group, kept[blocks[key]]) for key, group in whole.groups.items()}
    facts = _no_facts(whole, groups)
    places = {key: _positions(kept[b], layout.shapes[b][1]) for key, b in blocks.items()}
    facts.absorb(whole.summed.facts, [places[key] for key in whole.keys])
    facts.absorb(part.summed.facts, [codes[key] for key in whole.keys], sign=-1)
    tally = added_tallies([whole.summed.tally, part.summed.tally], [1, -1])
    smaller = with_levels(total, kept)
    summed = Summed(smaller, facts, tally, Counts([c[k] for c, k in zip(rows, kept)], {}))
    roots = [_downdated(a, b) for a, b in zip(whole.roots, part.roots, strict=True)]
    return SiteSums(whole.coding, groups, summed, roots)


# --- levels ---------------------------------------------------------------------------------------


def _pooled_groups(sites: Sequence[SiteSums]) -> tuple[Groups, list[dict[tuple[str, ...], Codes]]]:
    """Return the levels of all sites in their order, and for each site where its own are."""
    groups: Groups = {}
    codes: list[dict[tuple[str, ...], Codes]] = [{} for _ in sites]
    for key, first in sites[0].groups.items():
        values = [values_of_levels(g.levels, g.categories) for g in (s.groups[key] for s in sites)]
        groups[key] = coder_of(first.levels, values)
        for site, own in zip(codes, values):
            site[key] = groups[key](own)
    return groups, codes


def _codes_in(group: GroupCoder, part: GroupCoder) -> Codes:
    """Return where the levels of a part are, -1 for those that are nowhere."""
    return group(values_of_levels(part.levels, part.categories))


def _kept(group: GroupCoder, kept: Codes) -> GroupCoder:
    """Return some of the levels of a grouping."""
    levels = group.levels[kept]
    return coder_of(levels, [values_of_levels(levels, group.categories)])


def _positions(kept: Codes, q: int) -> Codes:
    """Return where each of q levels is among those kept; levels that go have the place 0."""
    out = np.zeros(q, np.intp)
    out[kept] = np.arange(len(kept))
    return out


# --- layouts --------------------------------------------------------------------------------------


def _triangle(roots: Sequence[Floats]) -> Floats:
    """Return the triangle of columns from those of the sites."""
    whole = np.vstack(roots)
    largest = np.abs(whole).max(axis=0, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    return np.asarray(np.linalg.qr(whole / scale, mode="r") * scale)


def _downdated(whole: Floats, part: Floats) -> Floats:
    """Return a root of what the inner products of a part leave of all.

    With R = USV' of all and K = R_1VS⁻¹ of the part, R'R - R_1'R_1 = VS(I - K'K)SV'. The difference
    of the products themselves would lose the digits by which columns far from zero differ.
    """
    largest = np.abs(whole).max(axis=0, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    _, lengths, directions = np.linalg.svd(whole / scale, full_matrices=False)
    longest = float(lengths.max(initial=0.0))
    kept = lengths > _NONE * longest
    lengths, directions = lengths[kept], directions[kept]
    K = (part / scale) @ directions.T / lengths
    values, vectors = np.linalg.eigh(np.eye(len(lengths)) - K.T @ K)
    rounding = _NONE * longest / float(lengths.min(initial=np.inf))
    left = values > max(_NOTHING, rounding)
    root = np.sqrt(values[left])[:, None] * vectors[:, left].T
    out = (root * lengths) @ directions * scale
    out[:, np.linalg.norm(out, axis=0) <= _GONE * np.linalg.norm(whole, axis=0)] = 0.0
    return np.asarray(out)


def _layout(sites: Sequence[SiteSums], groups: Groups, roots: Sequence[Floats]) -> Layout:
    """Return the layout that the rows of all sites find, up to their weights."""
    first = sites[0]
    specs = specs_of(first.coding, groups)
    n = sum(site.summed.products.n for site in sites)
    _, basis, kept = column_basis(roots[0], EqualVariances(len(roots[0])), dependent=True)
    blocks = blocks_of_groups(first.keys, specs)
    places: dict[int, Place] = {}
    shapes = []
    for block, members in enumerate(blocks):
        k = 0
        for i in members:
            R, how = roots[i + 1], specs[i].kind.whitening
            _, own = term_basis(R, EqualVariances(len(R)), how, dependent=True)
            places[i] = Place(block, k, Basis(own.R * np.sqrt(len(R) / n)))
            k += len(specs[i].columns)
        shapes.append((k, len(specs[members[0]].levels)))
    ordered = tuple(places[i] for i in range(len(specs)))
    return Layout(tuple(shapes), ordered, Basis(basis.R), _beta0(sites, basis.R, kept))


def _beta0(sites: Sequence[SiteSums], R: Floats, kept: Codes) -> Floats:
    """Return the least-squares coefficients of all rows; zero for columns that are not kept."""
    rows, right = [], []
    for site in sites:
        cp = site.summed.products
        values, vectors = np.linalg.eigh(cp.XX)
        said = values > _NOTHING * max(float(values.max(initial=0.0)), 0.0)
        U = np.sqrt(values[said])[:, None] * vectors[:, said].T
        rows.append(U @ np.linalg.solve(R.T, cp.R.T).T[:, kept])
        right.append(
            U @ (cp.R @ cp.layout.beta0) + (vectors[:, said].T @ cp.Xy) / np.sqrt(values[said])
        )
    gamma = np.zeros(len(R))
    gamma[kept] = np.linalg.lstsq(np.vstack(rows), np.concatenate(right), rcond=None)[0]
    return solve_upper(R, gamma)


def _moved(
    site: SiteSums, layout: Layout, codes: dict[tuple[str, ...], Codes]
) -> tuple[CrossProducts, list[Codes]]:
    """Return the products of a site in a layout, and its rows of each level there."""
    cp = site.summed.products
    own = {place.block: key for place, key in zip(cp.layout.places, site.keys)}
    levels = [codes[own[block]] for block in range(len(cp.shapes))]
    order = {new.block: old.block for old, new in zip(cp.layout.places, layout.places)}
    counts = []
    for block, (_, q) in enumerate(layout.shapes):
        whole = np.zeros(q, np.intp)
        whole[levels[order[block]]] = _counts(site)[order[block]]
        counts.append(whole)
    return moved(cp, layout, levels, [order[b] for b in range(len(layout.shapes))]), counts


def _counts(site: SiteSums) -> list[Codes]:
    """Return the rows of each level of each block."""
    assert site.summed.counts is not None
    return site.summed.counts.levels


# --- the rest -------------------------------------------------------------------------------------


def _no_facts(site: SiteSums, groups: Groups) -> RowFacts:
    """Return facts of no rows yet."""
    specs = specs_of(site.coding, groups)
    return RowFacts(site.coding["x_names"], specs, parsed(site.coding).response)


def added_tallies(tallies: Sequence[Tally], signs: Sequence[int] | None = None) -> Tally:
    """Add up what was counted."""
    out = Tally()
    for tally, sign in zip(tallies, signs or [1] * len(tallies)):
        for name in _COUNTED:
            setattr(out, name, getattr(out, name) + sign * getattr(tally, name))
        for name, count in tally.missing.items():
            out.missing[name] = out.missing.get(name, 0) + sign * count
        if sign > 0:
            out.print.add(tally.print)
    return out


_COUNTED = ("n_data", "n_subset", "n_missing", "n_zero_weight", "n_used")
