"""What operations cost: plans of eliminations, Hessians and starts are chosen by these numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Costs"]


@dataclass(frozen=True)
class Costs:
    """Seconds on one thread of a machine of 2020, and sizes at which one way is always taken.

    Parameters
    ----------
    small : int
        Columns of Z up to which one dense matrix beats every structure.
    small_rest : int
        Columns up to which what remains after a stage is always dense.
    dense_flop : float
        One floating-point operation in a dense factorization and inversion.
    pair : float
        One pair of neighbours in an elimination, its gradient included.
    stage : float
        A stage, whatever its size.
    edge : float
        One edge of the remaining graph, when a stage copies it.
    gram_flop, gram_pair, gram_start : float
        One operation of a dense product H'H, one pair of a product by pairs, and what dense
        products cost more at least.
    most_pairs : float
        Pairs that may be listed.
    chunk : int
        Entries of one dense chunk of rows (32 MB).
    dense : int
        Columns of Z up to which Z'PZ is formed to learn the second derivatives.
    densest : int
        Columns up to which it is formed where evaluations in place of it would take longer.
    dense_cube : float
        Forming it, divided by the cube of the columns.
    levelwise : int
        Columns of Z up to which the factor of one block is kept for the same purpose.
    dear : int
        Columns of crossed or nested blocks from which an evaluation is worth sparing.
    cube : float
        The dense root of one evaluation, divided by the cube of its columns.
    memory : float
        Bytes that a plan may take.
    most_edges : float
        Edges of remaining graphs, of all stages together, after which a plan ends with a dense
        root, whatever that costs.
    entry : float
        One entry of Z'WZ beside its diagonal blocks, times one number, in the iterative solver.
    hurry : float
        Seconds that an exact evaluation may take whatever the iterative solver would take.
    patience : float
        Seconds from which on it is never waited for.
    worth : float
        Iterative evaluations in whose time an exact one must be done, between the two. An exact
        search begins where an iterative one has ended, takes one or two evaluations more, and what
        comes of it has no noise.
    """

    small: int = 150
    small_rest: int = 400
    dense_flop: float = 2e-11
    pair: float = 2e-8
    stage: float = 1e-3
    edge: float = 3e-8
    gram_flop: float = 1e-11
    gram_pair: float = 1e-8
    gram_start: float = 1e-4
    most_pairs: float = 3e7
    chunk: int = 4_000_000
    dense: int = 600
    densest: int = 3000
    dense_cube: float = 6e-11
    levelwise: int = 20_000
    dear: int = 1000
    cube: float = 4e-11
    memory: float = np.inf
    most_edges: float = np.inf
    entry: float = 1e-9
    hurry: float = 5.0
    patience: float = 30.0
    worth: float = 2.0

    def evaluation(self, root_size: int) -> float:
        """Return the seconds that the dense root of one evaluation takes."""
        return self.cube * float(root_size) ** 3

    def is_waited_for(self, exact: float, iterative: float) -> bool:
        """Say whether an exact evaluation is worth its seconds beside those of an iterative one."""
        return exact <= min(max(self.hurry, self.worth * iterative), self.patience)

    def forms_dense(self, columns: int, evaluations: int, root_size: int) -> bool:
        """Say whether Z'PZ, square in the columns of Z, is formed rather than evaluated around."""
        if columns <= self.dense:
            return True
        otherwise = evaluations * (self.stage + self.evaluation(root_size))
        return columns <= self.densest and self.dense_cube * float(columns) ** 3 < otherwise
