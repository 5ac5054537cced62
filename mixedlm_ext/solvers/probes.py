"""Random signs of the levels, by which traces of functions of a large matrix are estimated.

A sample draws one sign for each level of a block and stands for k columns, one for each column of
the block: Σ_a (ζ ⊗ e_a)'f(C)(ζ ⊗ e_a) has the mean tr f(C) over the block, and does not change when
the columns of every level are rotated. Each block has columns of its own, so that the sum over
blocks is even in the sign of each. Blocks on the diagonal of f(C) add nothing to the variance.

One direction of each block is known to matter most, all levels together in proportion to the roots
of their numbers of rows, as a mean common to all levels is what couplings show least of. It is left
to columns of its own, which are no samples, and taken out of the signs.

The same samples are drawn whenever they are asked for, and more of them begin with fewer. When
there are as many as levels, unit vectors take their place: then the sum is the trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.products.block_matrix import BlockMatrix

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Probes"]


@dataclass(frozen=True)
class Probes:
    """Samples for some blocks.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Columns a level and levels, for each block.
    means : tuple of ndarray (levels, 1)
        Of each block, a direction of length 1 that is not left to chance.
    wanted : int
        Samples; as many as the largest block has levels are all that there can be.
    seed : int
    """

    shapes: tuple[tuple[int, int], ...]
    means: tuple[Array, ...]
    wanted: int
    seed: int

    @classmethod
    def of(cls, A: BlockMatrix, wanted: int, seed: int) -> Probes:
        """Return the samples for the blocks of A after the first."""
        means = []
        for D in A.diagonal[1:]:
            root = np.sqrt(1.0 + np.einsum("aal->l", D) / len(D))
            means.append((root / np.linalg.norm(root))[:, None])
        return cls(A.shapes[1:], tuple(means), wanted, seed)

    @property
    def complete(self) -> bool:
        """Whether the mean over the samples is the trace itself."""
        return self.wanted >= self._most

    @property
    def _most(self) -> int:
        return max((levels for _, levels in self.shapes), default=0)

    @property
    def count(self) -> int:
        """Samples."""
        return self._most if self.complete else self.wanted

    @property
    def width(self) -> int:
        """Columns of one sample."""
        return sum(k for k, _ in self.shapes)

    def columns(self, samples: range) -> Array:
        """Return the columns of some samples, (q, samples·width), those of one side by side."""
        return self._spread(
            [
                np.column_stack([self._signs(s, block, levels) for s in samples])
                for block, (_, levels) in enumerate(self.shapes)
            ]
        )

    def known(self) -> Array:
        """Return the columns that are no samples, (q, width or 0)."""
        return self._spread([mean[:, : not self.complete] for mean in self.means])

    def _spread(self, vectors: list[Array]) -> Array:
        """Return a column for each vector (levels, n) of each block and each of the block's k."""
        size, n = sum(k * levels for k, levels in self.shapes), vectors[0].shape[1]
        out = np.zeros((size, n, self.width))
        row = column = 0
        for (k, levels), own in zip(self.shapes, vectors):
            for _ in range(k):
                out[row : row + levels, :, column] = own
                row, column = row + levels, column + 1
        return out.reshape(size, -1)

    def _signs(self, sample: int, block: int, levels: int) -> Array:
        """Return one number for each level."""
        if self.complete:
            return np.sqrt(self.count) * (np.arange(levels) == sample)
        rng = np.random.default_rng((self.seed, block, sample))
        signs, mean = 2.0 * rng.integers(0, 2, levels) - 1.0, self.means[block][:, 0]
        return np.asarray(signs - mean * (mean @ signs))
