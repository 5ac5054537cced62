"""Simulated models, for the package and for the oracle at once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracle
import pandas as pd

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.errors import DesignWarning, SingularFitWarning

Array = np.ndarray


@dataclass(frozen=True)
class Example:
    """Data and terms of one model; `names` are the grouping factors of the terms."""

    y: Array
    X: Array
    terms: tuple[oracle.Term, ...]
    names: tuple[str, ...]
    w: Array | None = None
    offset: Array | None = None

    @property
    def n_theta(self) -> int:
        return sum(oracle.n_parameters(term) for term in self.terms)

    @property
    def dense(self) -> dict[str, Any]:
        """Arguments of the oracle's functions."""
        keys = ("y", "X", "terms", "w", "offset")
        return {key: getattr(self, key) for key in keys}

    def model(self) -> MixedLM:
        """The package's model, by the array interface."""
        random = [
            RandomTerm(
                term.codes, term.X, name=name, structure=term.structure, positions=term.positions
            )
            for term, name in zip(self.terms, self.names, strict=True)
        ]
        with warnings.catch_warnings():
            if len(oracle.independent_columns(self.X)) < self.X.shape[1]:
                warnings.simplefilter("ignore", DesignWarning)
            X = self.X if self.X.shape[1] else None
            return MixedLM(self.y, X, random, weights=self.w, offset=self.offset)


def balanced(n: int, levels: int, rng: np.random.Generator) -> Array:
    """Codes of a factor of equally frequent levels in random order."""
    return rng.permutation(np.arange(n) % levels)


def layout(kind: str, n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Codes of the grouping factors g, h, i; g has the most levels."""
    if kind == "nested":
        g = balanced(n, 15, rng)
        return {"g": g, "h": g // 3, "i": g // 8}
    if kind == "crossed":
        cells = rng.permutation(n)
        return {"g": cells % 12, "h": cells // 12 % 5, "i": cells % 2}
    if kind == "partial":
        return {"g": balanced(n, 13, rng), "h": balanced(n, 7, rng), "i": balanced(n, 4, rng)}
    assert kind == "mixed"  # i within g, h across
    return {"g": balanced(n, 12, rng), "h": balanced(n, 5, rng), "i": balanced(n, 12, rng) // 3}


def example(
    kind: str,
    terms: Sequence[str],
    *,
    n: int = 60,
    X: str = "1x",
    weights: bool = False,
    offset: bool = False,
    seed: int = 0,
    spread: float = 1.0,
) -> Example:
    """Simulate a model.

    Terms are written ``"1x|g"``, or ``"1x||g"`` for a diagonal structure; columns are 1, x, z and
    u. In `X` the column d is 2 + x, which depends on the others. `spread` is the size of the random
    effects relative to the noise.
    """
    rng = np.random.default_rng(seed)
    columns = {"1": np.ones(n), **{name: rng.standard_normal(n) for name in "xzu"}}
    columns["z"] = 3.0 + 2.0 * columns["z"]  # correlated with the intercept
    columns["d"] = 2.0 + columns["x"]
    codes = layout(kind, n, rng)
    parsed = [
        text.replace("||", "!").replace("|", " ").replace("!", " diag ").split() for text in terms
    ]
    out = tuple(
        oracle.Term(
            np.column_stack([columns[c] for c in left]),
            codes[right[-1]],
            int(codes[right[-1]].max()) + 1,
            "diag" if len(right) == 2 else "us",
        )
        for left, *right in parsed
    )
    matrix = np.column_stack([columns[c] for c in X]) if X else np.zeros((n, 0))
    w = rng.uniform(0.2, 5.0, n) if weights else None
    known = rng.standard_normal(n) * 3.0 if offset else None
    y = matrix @ rng.standard_normal(matrix.shape[1]) + (0.0 if known is None else known)
    theta = spread * rng.standard_normal(sum(len(oracle.free_entries(t)) for t in out))
    y = y + oracle.Z(out) @ oracle.Lambda(out, theta) @ rng.standard_normal(oracle.Z(out).shape[1])
    y = y + rng.standard_normal(n) / (1.0 if w is None else np.sqrt(w))
    return Example(y, matrix, out, tuple(right[-1] for _, *right in parsed), w, known)


def thetas(model: Example, seed: int = 1) -> dict[str, Array]:
    """Points to evaluate the criterion at: ordinary ones, and templates of deficient rank."""
    rng = np.random.default_rng(seed)
    random = rng.standard_normal(model.n_theta)
    entries = [entry for term in model.terms for entry in oracle.free_entries(term)]
    first = np.array([column == 0 for _, column in entries])
    corner = np.array([entry == (0, 0) for entry in entries])
    size = len(oracle.free_entries(model.terms[-1]))
    last_term = np.arange(model.n_theta) >= model.n_theta - size
    return {
        "random": random,
        "zero": np.zeros(model.n_theta),
        "first column zero": np.where(first, 0.0, random),
        "first diagonal zero": np.where(corner, 0.0, random),
        "last term zero": np.where(last_term, 0.0, random),
        "large": 20.0 * random,
    }


def quietly(model: MixedLM, **arguments: Any) -> Any:
    """Fit a model that may be singular; any other warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return model.fit(**arguments)


def fit(formula: str, data: pd.DataFrame, weights: Any = None, **arguments: Any) -> Any:
    """Fit a formula, quietly."""
    return quietly(MixedLM.from_formula(formula, data, weights=weights), **arguments)
