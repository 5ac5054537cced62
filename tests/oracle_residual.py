"""Models with a residual structure from the dense covariance matrix of their rows.

R and V are filled from the columns of the data; nothing of the package computes here
but the design, which reads the formula, and the parametrization z of a search, which is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import oracle
import pandas as pd

Array = np.ndarray


@cache
def pairs_of_rows(design: Any) -> tuple[Array, Array]:
    """Which rows are of one group, (n, n) without the diagonal, and how far these are apart."""
    frame, part = design.frame, design.residual.correlation
    keys = frame[list(part.group)].astype(str).agg("|".join, axis=1).to_numpy()
    same = (keys[:, None] == keys[None, :]) & ~np.eye(len(keys), dtype=bool)
    if part.position is None:
        return same, np.ones(int(same.sum()))
    t = frame[part.position].to_numpy()
    h = np.abs(t[:, None] - t[None, :])[same]
    return same, np.rint(h) if part.kind.word == "ar1" else h


def dense_covariance(design: Any, values: Array) -> Array:
    """R relative to σ², for rho, ratios, powers and rates in the order of the parameters."""
    structure, frame = design.residual, design.frame
    n, at = len(design.y), 0
    R = np.eye(n)
    if structure.correlation is not None:
        at = 1
        same, h = pairs_of_rows(design)
        R[same] = values[0] ** h
    sd = np.ones(n)
    for part in structure.variances:
        column = frame[part.codes[0]].to_numpy()
        if part.levels is None:
            power = values[at]
            sd *= np.abs(column) ** power if part.word == "power" else np.exp(power * column)
            at += 1
        else:
            for k, level in enumerate(part.levels[1:]):
                sd[column == level] *= values[at + k]
            at += len(part.levels) - 1
    if design.weights is not None:
        sd = sd / np.sqrt(design.weights)
    return R * np.outer(sd, sd)


def relationships(parents: dict[Any, tuple[Any, Any]]) -> pd.DataFrame:
    """A of animals in the order of `parents`, which names sire and dam or None, elder first."""
    names = list(parents)
    A = pd.DataFrame(0.0, names, names)
    for i, (name, (sire, dam)) in enumerate(parents.items()):
        known = [parent for parent in (sire, dam) if parent is not None]
        for elder in names[:i]:
            A.loc[name, elder] = A.loc[elder, name] = 0.5 * sum(A.loc[elder, own] for own in known)
        A.loc[name, name] = 1.0 + (0.5 * A.loc[sire, dam] if len(known) == 2 else 0.0)
    return A


class Dense:
    """One design, by dense algebra.

    `between` has of each term the covariance of the effects of rows, (n, n), of a term of variance
    one; None where rows of one level share it and others are independent.
    """

    def __init__(self, design: Any, between: Sequence[Array | None] = ()) -> None:
        self.between = between or [None] * len(design.terms)
        self.design = design
        self.y = design.y - (0.0 if design.offset is None else design.offset)
        self.X = design.X
        self.terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]

    def V(self, theta: Array, values: Array) -> Array:
        """Relative covariance of y."""
        V = dense_covariance(self.design, values)
        at = 0
        for term, own, among in zip(self.terms, self.design.terms, self.between):
            m = own.kind.n_theta
            T = oracle.template(term, theta[at : at + m])
            at += m
            same = term.codes[:, None] == term.codes[None, :] if among is None else among
            V = V + same * (term.X @ T @ T.T @ term.X.T)
        return V

    def P(self, V: Array) -> Array:
        """The projection of the restricted likelihood."""
        inverse = np.linalg.inv(V)
        if not self.X.shape[1]:
            return inverse
        VX = inverse @ self.X
        return inverse - VX @ np.linalg.solve(self.X.T @ VX, VX.T)

    def criterion(self, theta: Array, values: Array, reml: bool, sigma: float | None) -> float:
        """REML criterion or -2 log-likelihood, all constants in."""
        V = self.V(theta, values)
        n, p = self.X.shape
        df = n - p if reml else n
        r2 = float(self.y @ self.P(V) @ self.y)
        scale = r2 / df if sigma is None else sigma**2
        out = np.linalg.slogdet(V)[1] + df * np.log(2 * np.pi * scale) + r2 / scale
        if reml and p:
            out += np.linalg.slogdet(self.X.T @ np.linalg.solve(V, self.X))[1]
        return float(out)

    def average_information(self, theta: Array, z: Array, structure: Any, reml: bool) -> Array:
        """(f'Pf/σ² - (f'Py)(f'Py)'/(dfσ⁴)) of f = ∂R/∂z Py, R differenced."""
        n, p = self.X.shape
        df = n - p if reml else n
        V = self.V(theta, structure.values_of(z))
        P = self.P(V)
        Py = P @ self.y
        scale = float(self.y @ Py) / df
        f = []
        for k in range(len(z)):
            ends = []
            for h in (1e-6, -1e-6):
                moved = z.copy()
                moved[k] += h
                ends.append(dense_covariance(self.design, structure.values_of(moved)))
            f.append((ends[0] - ends[1]) / 2e-6 @ Py)
        F = np.array(f).T
        s = F.T @ Py / scale
        return F.T @ P @ F / scale - np.outer(s, s) / df
