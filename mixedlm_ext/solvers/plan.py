"""The order in which the columns of Z are eliminated, chosen once from the pattern of Z'Z.

A *node* is one level of one block and stands for its k columns of Z; two nodes are joined when they
meet in some row, in rows with correlated residuals, by a known precision or by common members. A
set of nodes that are not joined to one another is eliminated together, level by level, which joins
the neighbours of each. The largest block of unjoined levels goes first; then whole blocks that are
still unjoined (nested factors), or unjoined subsets of a block with few neighbours (sparsely
crossed factors, relatives), as long as that is cheaper than to factor what remains as one dense
matrix.
What a plan takes of memory is estimated here too, as nothing has been allocated for it yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg.keys import distinct_keys
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.gram import prefer_pairs

Index = NDArray[np.intp]

__all__ = ["Part", "Plan", "Stage", "dense_plan", "make_plan", "node_offsets", "pairs_in_rows"]

_ROOT_COPIES = 4
"""Dense matrices of the root at once: its numbers, the factor, the inverse, those of a trial."""
_PAIR = 80
"""Bytes of one pair of neighbours: its entries, its cell, and what is made of them on the way."""
_CELL = 48
"""Bytes of one cell of a sparse remaining matrix and of what finds it."""

Shapes = tuple[tuple[int, int], ...]
Pairs = Mapping[tuple[int, int], tuple[Index, Index]]
"""Blocks i <= j to the levels of both that are joined; of one block, each pair once."""


@dataclass(frozen=True, eq=False)
class Part:
    """Levels of one block that are treated alike; column (a, j) has index start + a·n + j.

    Parameters
    ----------
    block : int
    levels : ndarray (n,)
        Which levels of the block.
    k : int
        Columns a level.
    start : int
        Index of the part's first column in the order of elimination.
    """

    block: int
    levels: Index
    k: int
    start: int

    @property
    def n(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def stop(self) -> int:
        """Index after the part's last column."""
        return self.start + self.k * self.n


@dataclass(frozen=True, eq=False)
class Stage:
    """One part and the pattern of its coupling to everything eliminated later.

    Parameters
    ----------
    part : Part
    rows, nodes : ndarray
        Neighbours: position within the part, and the node it is joined to; sorted by row.
    """

    part: Part
    rows: Index
    nodes: Index


@dataclass(frozen=True, eq=False)
class Plan:
    """Stages, then the parts of the dense root (maybe none).

    Attributes
    ----------
    stages : list of Stage
    root : list of Part
    edges : list of (ndarray, ndarray)
        The joined nodes that remain after each stage, fill included; only where the next stage
        needs them.
    joined : bool
        Whether levels of one block are joined to one another.
    """

    stages: list[Stage]
    root: list[Part]
    edges: list[tuple[Index, Index]]
    shapes: Shapes
    joined: bool = False

    @property
    def parts(self) -> list[Part]:
        """All parts in the order of elimination."""
        return [stage.part for stage in self.stages] + self.root

    @property
    def root_size(self) -> int:
        """Columns of the dense root."""
        return sum(part.k * part.n for part in self.root)

    def memory(self, costs: Costs) -> float:
        """Return the bytes of a factor, its derivatives and their patterns, roughly."""
        out = 8.0 * _ROOT_COPIES * float(self.root_size) ** 2
        out += _PAIR * sum(pairs for _, pairs in self._pairs_listed(costs))
        return out + _CELL * sum(float(len(u)) for u, _ in self.edges)

    def seconds(self, costs: Costs) -> float:
        """Return the seconds of an evaluation with its derivatives, roughly."""
        out = costs.cube * float(self.root_size) ** 3
        listed = self._pairs_listed(costs)
        for stage, pairs in listed:
            out += costs.stage + costs.pair * stage.part.k * pairs
        if len(listed) < len(self.stages):  # the last one is multiplied by dense rows
            last = self.stages[-1].part
            out += costs.gram_flop * last.k * last.n * float(self.root_size) ** 2
        return out

    def _pairs_listed(self, costs: Costs) -> list[tuple[Stage, float]]:
        """Return the stages whose pairs of neighbours are listed, and how many these are."""
        widths = np.repeat([k for k, _ in self.shapes], [levels for _, levels in self.shapes])
        out = []
        for number, stage in enumerate(self.stages):
            entries = np.repeat(stage.rows, widths[stage.nodes])
            before_root = number == len(self.stages) - 1 and bool(self.root)
            if not before_root or prefer_pairs(entries, self.root_size, stage.part.k, costs):
                out.append((stage, _count_pairs(entries)))
        return out

    def node_columns(self) -> tuple[Index, Index, Index]:
        """Return for every node its first column, their stride, and their number."""
        first, stride, count = (np.empty(sum(n for _, n in self.shapes), np.intp) for _ in range(3))
        offsets = node_offsets(self.shapes)
        for part in self.parts:
            nodes = offsets[part.block] + part.levels
            first[nodes] = part.start + np.arange(part.n)
            stride[nodes] = part.n
            count[nodes] = part.k
        return first, stride, count


def node_offsets(shapes: Shapes) -> Index:
    """Return the number of the first node of each block."""
    return np.concatenate([[0], np.cumsum([levels for _, levels in shapes])]).astype(np.intp)


def pairs_in_rows(rows: Index) -> tuple[Index, Index]:
    """Enumerate all pairs of entries s >= t that share a row; `rows` is sorted."""
    counts = np.bincount(rows) if len(rows) else np.zeros(0, np.intp)
    starts = np.cumsum(counts) - counts
    first = starts[rows]  # the first entry of each entry's row
    below = np.arange(len(rows)) - first + 1
    s = np.repeat(np.arange(len(rows)), below)
    ends = np.cumsum(below)
    t = np.arange(len(s)) - np.repeat(ends - below, below) + np.repeat(first, below)
    return s, t


def _count_pairs(rows: Index) -> float:
    """Return how many pairs of entries share a row."""
    counts = np.bincount(rows).astype(float)
    return float((counts * (counts + 1.0)).sum()) / 2.0


def make_plan(shapes: Shapes, pairs: Pairs, costs: Costs) -> Plan:
    """Choose the order of elimination for a pattern.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Columns a level and levels, for each block; largest first.
    pairs : mapping of (i, j), i <= j, to (ndarray, ndarray)
        The levels of blocks i and j that are joined.
    costs : Costs

    Returns
    -------
    Plan
    """
    joined = any(i == j and len(rows) for (i, j), (rows, _) in pairs.items())
    several = len(shapes) > 1 or joined
    if several and sum(k * levels for k, levels in shapes) <= costs.small:
        return dense_plan(shapes)
    return _Planner(shapes, pairs, costs).run()


def dense_plan(shapes: Shapes) -> Plan:
    """Return the plan of one dense matrix."""
    return Plan([], _whole_blocks(shapes, range(len(shapes)), 0), [], shapes)


def _whole_blocks(shapes: Shapes, blocks: range, start: int) -> list[Part]:
    """Return one part for each of `blocks`."""
    parts = []
    for i in blocks:
        k, levels = shapes[i]
        parts.append(Part(i, np.arange(levels), k, start))
        start = parts[-1].stop
    return parts


class _Planner:
    """The elimination of the node graph, stage by stage."""

    def __init__(self, shapes: Shapes, pairs: Pairs, costs: Costs) -> None:
        self.shapes, self.costs = shapes, costs
        self.offsets = node_offsets(shapes)
        levels = [n for _, n in shapes]
        self.block_of = np.repeat(np.arange(len(levels)), levels)
        self.k_of = np.repeat([k for k, _ in shapes], levels)
        self.alive = np.ones(len(self.block_of), bool)
        joined = [
            (self.offsets[i] + rows, self.offsets[j] + columns)
            for (i, j), (rows, columns) in pairs.items()
        ]
        # the smaller node first, as fill has it: an edge must not be there both ways round
        none = [np.zeros(0, np.intp)]
        self.u = np.concatenate(none + [np.minimum(u, v) for u, v in joined])
        self.v = np.concatenate(none + [np.maximum(u, v) for u, v in joined])
        self.start = 0
        self.joined = bool((self.block_of[self.u] == self.block_of[self.v]).any())

    def run(self) -> Plan:
        """Eliminate until nothing remains, or what remains is better dense."""
        stages: list[Stage] = []
        edges: list[tuple[Index, Index]] = []
        members = self._first()
        while members is not None:
            stage = self._stage(members)
            stages.append(stage)
            members = self._next(stage)
            if sum(len(u) for u, _ in edges) + len(self.u) > self.costs.most_edges:
                members = None
            if members is not None:
                edges.append((self.u, self.v))
        return Plan(stages, self._root(), edges, self.shapes, self.joined)

    def _first(self) -> Index | None:
        """Return what to eliminate first, None for one dense matrix."""
        if not self.joined:
            return self._unjoined_block()
        return self._choose()

    def _stage(self, nodes: Index) -> Stage:
        """Take `nodes`, all of one block, out of the graph."""
        block = int(self.block_of[nodes[0]])
        part = Part(block, nodes - self.offsets[block], self.shapes[block][0], self.start)
        self.start = part.stop
        self.alive[nodes] = False
        position = np.full(len(self.alive), -1)
        position[nodes] = np.arange(len(nodes))
        out_u, out_v = position[self.u] >= 0, position[self.v] >= 0
        rows = np.concatenate([position[self.u[out_u]], position[self.v[out_v]]])
        others = np.concatenate([self.v[out_u], self.u[out_v]])
        order = np.lexsort((others, rows))
        keep = ~(out_u | out_v)
        self.u, self.v = self.u[keep], self.v[keep]
        return Stage(part, rows[order], others[order])

    def _next(self, stage: Stage) -> Index | None:
        """Join the stage's neighbours; return what to eliminate next, None for a dense root."""
        columns = int(self.k_of[self.alive].sum())
        if columns <= self.costs.small_rest:
            return None
        width = np.bincount(stage.rows, self.k_of[stage.nodes], minlength=stage.part.n)
        if (width**2).sum() >= 0.25 * columns**2:
            return None
        pairs = _count_pairs(stage.rows)
        if _PAIR * pairs > self.costs.memory or pairs > self.costs.most_edges:
            return None
        self._fill(stage)
        return self._choose()

    def _choose(self) -> Index | None:
        """Return what to eliminate next, None for a dense root."""
        columns = int(self.k_of[self.alive].sum())
        if columns <= self.costs.small_rest:
            return None
        n = len(self.alive)
        degree = np.bincount(self.u, minlength=n) + np.bincount(self.v, minlength=n)
        candidates = [self._unjoined_block(), self._unjoined_subset(degree)]
        if self.joined:  # a small block may join many levels of a larger one: the cheaper first
            candidates.sort(key=lambda nodes: self._price(nodes, degree))
        for nodes in candidates:
            if len(nodes) and self._worth(nodes, degree, columns):
                return nodes
        return None

    def _price(self, nodes: Index, degree: Index) -> float:
        """Return the pairs of neighbours for each node that is eliminated."""
        return float((degree[nodes].astype(float) ** 2).sum()) / max(len(nodes), 1)

    def _worth(self, nodes: Index, degree: Index, columns: int) -> bool:
        """Say whether eliminating `nodes` costs less than it saves of a dense root of `columns`."""
        costs = self.costs
        taken = len(nodes) * int(self.k_of[nodes[0]])
        saved = costs.dense_flop * (float(columns) ** 3 - float(columns - taken) ** 3)
        pairs = float((degree[nodes].astype(float) ** 2).sum())
        return saved > costs.stage + costs.edge * len(self.u) + costs.pair * pairs

    def _fill(self, stage: Stage) -> None:
        """Join all neighbours of each eliminated node with one another."""
        s, t = pairs_in_rows(stage.rows)
        s, t = s[s != t], t[s != t]
        a, b = stage.nodes[s], stage.nodes[t]
        n = len(self.alive)
        low, high = np.minimum(a, b), np.maximum(a, b)
        key = distinct_keys(np.concatenate([self.u * n + self.v, low * n + high]))
        self.u, self.v = np.divmod(key, n)

    def _unjoined_block(self) -> Index:
        """Return what is left of the largest block none of whose levels are joined, maybe none."""
        inside = self.block_of[self.u] == self.block_of[self.v]
        joined = self.block_of[self.u[inside]]
        free = np.setdiff1d(self.block_of[self.alive], joined)
        nodes = [np.flatnonzero(self.alive & (self.block_of == i)) for i in free]
        return max(nodes, key=len, default=np.zeros(0, np.intp))

    def _unjoined_subset(self, degree: Index) -> Index:
        """Return unjoined nodes of one block with few neighbours, maybe none."""
        n = len(self.alive)
        alive = np.flatnonzero(self.alive)
        if degree[alive].sum() >= 0.25 * len(alive) ** 2:
            return alive[:0]
        # One round of Luby's algorithm, low degrees first: take what precedes all its neighbours.
        rank = np.empty(n, np.intp)
        rank[np.argsort(degree, kind="stable")] = np.arange(n)
        first = self.alive & (degree <= max(2.0, 2.0 * np.median(degree[alive])))
        later = np.where(rank[self.u] > rank[self.v], self.u, self.v)
        first[later] = False
        nodes = np.flatnonzero(first)
        if not len(nodes):
            return nodes
        block = np.bincount(self.block_of[nodes]).argmax()
        return nodes[self.block_of[nodes] == block]

    def _root(self) -> list[Part]:
        """Collect what was not eliminated, block by block."""
        parts = []
        for i, (k, _) in enumerate(self.shapes):
            nodes = np.flatnonzero(self.alive & (self.block_of == i))
            if len(nodes):
                parts.append(Part(i, nodes - self.offsets[i], k, self.start))
                self.start = parts[-1].stop
        return parts
