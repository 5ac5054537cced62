"""The factor of M = Λ'Z'WZΛ + I: its pattern, built once a model, and its values at one theta."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg.crossproducts import CrossProducts
from mixedlm_ext.linalg.dense import DenseFactor, DenseRoot
from mixedlm_ext.linalg.elimination import Elimination, EliminationFactor, Storage
from mixedlm_ext.linalg.keys import distinct_keys
from mixedlm_ext.linalg.plan import Plan, Stage, make_plan, node_offsets

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Factor", "Pattern"]


class Pattern:
    """Everything about the factor that does not depend on theta.

    Parameters
    ----------
    cp : CrossProducts
        Blocks ordered by size, largest first.
    plan : Plan, optional
        Another order of elimination than the one that `make_plan` chooses.

    Notes
    -----
    ``order`` holds, for each column in the order of elimination, its index in the order of `cp`; it
    is None when the two orders are the same.
    """

    def __init__(self, cp: CrossProducts, plan: Plan | None = None) -> None:
        self.cp = cp
        self.plan = make_plan(cp) if plan is None else plan
        order = np.concatenate(
            [
                cp.offsets[p.block]
                + (np.arange(p.k)[:, None] * cp.shapes[p.block][1] + p.levels).ravel()
                for p in self.plan.parts
            ]
        )
        self.order = None if np.array_equal(order, np.arange(cp.q)) else order
        self._first, self._stride, self._count = self.plan.node_columns()
        self._build()

    def _build(self) -> None:
        """Build the structures from the root up, then place the constant values of A."""
        plan = self.plan
        rest: Elimination | DenseRoot | None = DenseRoot(plan.root) if plan.root else None
        for number in range(len(plan.stages) - 1, -1, -1):
            stage = plan.stages[number]
            storage = self._storage(number) if number else None
            rows, columns = self._coupling(stage)
            rest = Elimination(stage.part, rows, columns, rest, storage)
        self.top = rest
        if isinstance(self.top, DenseRoot):
            self._places, self._values = self._constant_cells(self.top, 0)
            return
        assert self.top is not None
        self._C = self._first_coupling(self.top)
        self._places, self._values = np.zeros(0, np.intp), np.zeros(0)
        if self.top.rest is not None:
            self._places, self._values = self._constant_cells(self.top.rest, self.top.part.stop)

    def _expand(self, u: Index, v: Index) -> tuple[Index, Index, Index]:
        """Return the entries of the joined nodes u, v: rows, columns, and the pair each is of."""
        ku, kv = self._count[u], self._count[v]
        rows, columns, source = [], [], []
        for a in range(int(self._count.max())):
            for b in range(int(self._count.max())):
                which = np.flatnonzero((ku > a) & (kv > b))
                rows.append(self._first[u[which]] + a * self._stride[u[which]])
                columns.append(self._first[v[which]] + b * self._stride[v[which]])
                source.append(which)
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(source)

    def _coupling(self, stage: Stage) -> tuple[Index, Index]:
        """Return level and column of the coupling's entries, sorted by level."""
        kv = self._count[stage.nodes]
        entry = np.repeat(np.arange(len(kv)), kv)
        b = np.arange(len(entry)) - np.repeat(np.cumsum(kv) - kv, kv)
        nodes = stage.nodes[entry]
        return stage.rows[entry], self._first[nodes] + b * self._stride[nodes]

    def _storage(self, number: int) -> Storage:
        """Return the cells of what remains before stage `number`: edges and diagonal blocks."""
        u, v = self.plan.edges[number - 1]
        offsets = node_offsets(self.plan.shapes)
        left = [offsets[p.block] + p.levels for p in self.plan.parts[number:]]
        own = np.concatenate(left)
        r1, c1, _ = self._expand(u, v)
        r2, c2, _ = self._expand(own, own)
        rows, columns = np.concatenate([r1, r2]), np.concatenate([c1, c2])
        keys = distinct_keys(np.maximum(rows, columns) * self.cp.q + np.minimum(rows, columns))
        return Storage(keys, self.cp.q)

    def _first_coupling(self, top: Elimination) -> Array:
        """Return the values (k, entries) of the first stage's coupling."""
        cp, i = self.cp, top.part.block
        k = cp.shapes[i][0]
        out = np.zeros((k, len(top.rows)))
        key = top.rows * cp.q + top.columns + top.part.stop
        order = np.argsort(key)
        offsets = node_offsets(cp.shapes)
        for (one, two), c in cp.couplings.items():
            if i not in (one, two):
                continue
            mine, other, j = (c.rows, c.columns, two) if one == i else (c.columns, c.rows, one)
            values = c.values if one == i else c.values.transpose(1, 0, 2)
            node = offsets[j] + other
            for b in range(cp.shapes[j][0]):
                wanted = mine * cp.q + self._first[node] + b * self._stride[node]
                out[:, order[np.searchsorted(key, wanted, sorter=order)]] = values[:, b]
        return out

    def _constant_cells(self, rest: Elimination | DenseRoot, start: int) -> tuple[Index, Array]:
        """Return cells and values of A among the columns from `start` on."""
        cp, offsets = self.cp, node_offsets(self.cp.shapes)
        places, values = [], []
        for i, (k, levels) in enumerate(cp.shapes):
            node = offsets[i] + np.arange(levels)
            node = node[self._first[node] >= start]
            for a in range(k):
                for b in range(a + 1):
                    rows = self._first[node] + a * self._stride[node] - start
                    columns = self._first[node] + b * self._stride[node] - start
                    places.append(rest.cells(rows, columns))
                    values.append(cp.diagonal[i][a, b][node - offsets[i]])
        for (i, j), c in cp.couplings.items():
            u, v = offsets[i] + c.rows, offsets[j] + c.columns
            keep = np.flatnonzero((self._first[u] >= start) & (self._first[v] >= start))
            u, v = u[keep], v[keep]
            for a in range(cp.shapes[i][0]):
                for b in range(cp.shapes[j][0]):
                    rows = self._first[u] + a * self._stride[u] - start
                    columns = self._first[v] + b * self._stride[v] - start
                    places.append(rest.cells(rows, columns))
                    values.append(c.values[a, b][keep])
        return np.concatenate(places), np.concatenate(values)

    def factor(self, templates: Sequence[Array]) -> Factor:
        """Factor M at the given templates, one for each block."""
        if isinstance(self.top, DenseRoot):
            cells = np.zeros(self.top.n_cells)
            cells[self._places] = self._values
            return Factor(self, self.top.factor(cells, templates), templates)
        assert self.top is not None
        D = self.cp.diagonal[self.top.part.block]
        stages = EliminationFactor(self.top, D, self._C, self._places, self._values, templates)
        return Factor(self, stages, templates)


class Factor:
    """LL' = Λ'Z'WZΛ + I at one theta; arrays are in the column order of the cross-products.

    Attributes
    ----------
    logdet : float
        log|L|², that is log|M|.
    """

    def __init__(
        self,
        pattern: Pattern,
        stages: EliminationFactor | DenseFactor,
        templates: Sequence[Array],
    ) -> None:
        self._pattern, self._stages = pattern, stages
        self.templates = templates
        self.logdet = stages.logdet

    def release(self) -> None:
        """Free the memory; solves are no longer possible."""
        self.__dict__.pop("_stages", None)

    def half_solve(self, r: Array) -> Array:
        """Return L⁻¹Λ'r for r (q, c), rows in the order of elimination."""
        order = self._pattern.order
        return self._stages.half_solve(r if order is None else r[order])

    def back_solve(self, c: Array) -> Array:
        """Return ΛL⁻ᵀc for c (q, c) in the order of elimination, as `half_solve` gives it."""
        order = self._pattern.order
        b = self._stages.back_solve(c)
        if order is None:
            return b
        out = np.empty_like(b)
        out[order] = b
        return out

    def information(self) -> tuple[list[Array], list[Array]]:
        """Return K_i = Σ_l [Z'V⁻¹Z]_ll and K_iT_i for every block i."""
        sizes = [k for k, _ in self._pattern.cp.shapes]
        K = [np.zeros((k, k)) for k in sizes]
        KT = [np.zeros((k, k)) for k in sizes]
        self._stages.add_information(K, KT)
        return K, KT

    def level_information(self) -> Array | None:
        """Return every Z_l'V⁻¹Z_l, (k, k, levels), where one unjoined block is all of Z."""
        stages = self._stages
        if isinstance(stages, DenseFactor) or stages.rest is not None:
            return None
        return stages.level_information()

    def covariance_blocks(self) -> list[Array]:
        """Return the diagonal blocks of ΛM⁻¹Λ', (k, k, levels) for every block."""
        out = [np.empty((k, k, levels)) for k, levels in self._pattern.cp.shapes]
        self._stages.covariance_blocks(out)
        return out
