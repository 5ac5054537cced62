"""Random signs of the levels, by which traces of functions of a large matrix are estimated.

A sample draws one sign for each level of a block and stands for k columns, one for each column of
the block: Σ_a (ζ ⊗ e_a)'f(C)(ζ ⊗ e_a) has the mean tr f(C) over the block, and does not change when
the columns of every level are rotated. Each block has columns of its own, so that the sum over
blocks is even in the sign of each. Blocks on the diagonal of f(C) add nothing to the variance.

The same samples are drawn whenever they are asked for, and more of them begin with fewer. When
there are as many as levels, unit vectors take their place: then the sum is the trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    wanted : int
        Samples; as many as the largest block has levels are all that there can be.
    seed : int
    """

    shapes: tuple[tuple[int, int], ...]
    wanted: int
    seed: int

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
        """Return the columns of some samples, (q, width·samples), those of one side by side."""
        size = sum(k * levels for k, levels in self.shapes)
        out = np.zeros((size, len(samples), self.width))
        row = column = 0
        for block, (k, levels) in enumerate(self.shapes):
            signs = np.column_stack([self._signs(s, block, levels) for s in samples])
            for _ in range(k):
                out[row : row + levels, :, column] = signs
                row, column = row + levels, column + 1
        return out.reshape(size, -1)

    def _signs(self, sample: int, block: int, levels: int) -> Array:
        """Return one number for each level, with mean square 1 over the samples."""
        if self.complete:
            return np.sqrt(self.count) * (np.arange(levels) == sample)
        rng = np.random.default_rng((self.seed, block, sample))
        return np.asarray(2.0 * rng.integers(0, 2, levels) - 1.0)
