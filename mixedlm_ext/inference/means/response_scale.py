"""The way back from a transformed response: log(y), sqrt(y + 1), 2 * logit(p), ..."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from mixedlm_ext.design import Design
from mixedlm_ext.errors import FitError

Array = NDArray[np.float64]
Curve = Callable[[Array], Array]

__all__ = ["SAME", "ResponseScale", "response_scale"]


@dataclass(frozen=True)
class _Inverse:
    """An inverse and its first three derivatives.

    `low` and `high` are the ends of its domain, `ratio` what differences become.
    """

    curves: tuple[Curve, Curve, Curve, Curve]
    low: float = -np.inf
    high: float = np.inf
    ratio: str | None = None


def _power(p: float) -> _Inverse:
    """Return the inverse of y^(1/p)."""

    def derivative(order: int) -> Curve:
        factor = float(np.prod([p - i for i in range(order)]))
        if factor == 0.0:
            return np.zeros_like
        return lambda t: np.asarray(factor * t ** (p - order))

    low = -np.inf if p == 3.0 else 0.0
    return _Inverse((derivative(0), derivative(1), derivative(2), derivative(3)), low)


def _reciprocal(number: float) -> _Inverse:
    """Return the inverse of number / y."""
    low, high = (0.0, np.inf) if number > 0 else (-np.inf, 0.0)
    return _Inverse(
        (
            lambda t: number / t,
            lambda t: -number / t**2,
            lambda t: 2.0 * number / t**3,
            lambda t: -6.0 * number / t**4,
        ),
        low,
        high,
    )


def _exponential(base: float) -> _Inverse:
    """Return the inverse of a logarithm."""
    rate = float(np.log(base))

    def derivative(order: int) -> Curve:
        return lambda t: np.asarray(rate**order * np.exp(rate * t))

    return _Inverse((derivative(0), derivative(1), derivative(2), derivative(3)), ratio="ratio")


def _logistic() -> _Inverse:
    """Return the inverse of the logit."""

    def spread(t: Array) -> Array:
        return np.asarray(special.expit(t) * special.expit(-t))

    return _Inverse(
        (
            special.expit,
            spread,
            lambda t: spread(t) * (1.0 - 2.0 * special.expit(t)),
            lambda t: spread(t) * (1.0 - 6.0 * spread(t)),
        ),
        ratio="odds_ratio",
    )


def _normal() -> _Inverse:
    """Return the inverse of the probit."""
    density = stats.norm.pdf
    return _Inverse(
        (
            special.ndtr,
            density,
            lambda t: -t * density(t),
            lambda t: (t**2 - 1.0) * density(t),
        )
    )


def _fisher() -> _Inverse:
    """Return the inverse of Fisher's z."""

    def spread(t: Array) -> Array:
        return np.asarray(1.0 / np.cosh(t) ** 2)

    return _Inverse(
        (
            np.tanh,
            spread,
            lambda t: -2.0 * np.tanh(t) * spread(t),
            lambda t: spread(t) * (4.0 - 6.0 * spread(t)),
        )
    )


SAME = _Inverse((np.array, np.ones_like, np.zeros_like, np.zeros_like))
_LOG1P = _Inverse((np.expm1, np.exp, np.exp, np.exp))
_EXP = _Inverse((np.log, lambda t: 1.0 / t, lambda t: -1.0 / t**2, lambda t: 2.0 / t**3), 0.0)
_HYPERBOLIC_SINE = _Inverse((np.sinh, np.cosh, np.sinh, np.cosh))
_ARCSINE_ROOT = _Inverse(
    (
        lambda t: np.sin(t) ** 2,
        lambda t: np.sin(2.0 * t),
        lambda t: 2.0 * np.cos(2.0 * t),
        lambda t: -4.0 * np.sin(2.0 * t),
    ),
    0.0,
    np.pi / 2.0,
)
_FUNCTIONS = {
    "log": _exponential(np.e), "log10": _exponential(10.0), "log2": _exponential(2.0),
    "log1p": _LOG1P, "sqrt": _power(2.0), "cbrt": _power(3.0), "reciprocal": _power(-1.0),
    "logit": _logistic(), "probit": _normal(), "ppf": _normal(), "ndtri": _normal(),
    "exp": _EXP, "square": _power(0.5), "arcsinh": _HYPERBOLIC_SINE, "asinh": _HYPERBOLIC_SINE,
    "arctanh": _fisher(), "atanh": _fisher(),
}  # fmt: skip
_KNOWN = (
    "log, log2, log10, log1p, exp, sqrt, cbrt, square, reciprocal, logit, probit, arcsin(sqrt()), "
    "arcsinh, arctanh, powers"
)


@dataclass(frozen=True)
class ResponseScale:
    """The response of a formula as a function of the variable that was measured.

    Attributes
    ----------
    name : str
        The response in the formula, "log(y)".
    ratio : str or None
        What differences on the scale of the model are on the other: "ratio", "odds_ratio".
    """

    name: str
    inner: tuple[float, float]
    outer: tuple[float, float]
    inverse: _Inverse

    @property
    def ratio(self) -> str | None:
        """What differences become: "ratio", "odds_ratio", or None."""
        return self.inverse.ratio

    def back(self, eta: Array, variance: float = 0.0, order: int = 0) -> Array:
        """Return g⁻¹(η) + variance/2 (g⁻¹)''(η), or a derivative of it.

        The second term is the first correction for the bias of transforming back a mean.
        """
        slope, intercept = self.outer
        t = np.clip((eta - intercept) / slope, self.inverse.low, self.inverse.high)
        with np.errstate(all="ignore"):
            out = self.inverse.curves[order](t) / slope**order
            if variance:
                bend = self.inverse.curves[order + 2](t) / slope ** (order + 2)
                out = out + 0.5 * variance * bend
        shift = self.inner[1] if order == 0 else 0.0
        return np.asarray((out - shift) / self.inner[0])

    def ratios(self, difference: Array) -> Array:
        """Return differences on the scale of the model as ratios."""
        return (
            self.inverse.curves[0](difference / self.outer[0])
            if self.ratio == "ratio"
            else (np.exp(difference / self.outer[0]))
        )

    def ratio_slope(self) -> float:
        """Return the derivative of the logarithm of a ratio in the difference."""
        rate = float(self.inverse.curves[1](np.zeros(1))[0]) if self.ratio == "ratio" else 1.0
        return rate / self.outer[0]


def response_scale(design: Design) -> ResponseScale | None:
    """Read the transformation of the response from the formula.

    Parameters
    ----------
    design : Design
        From a formula, with its rows.

    Returns
    -------
    ResponseScale or None
        None if the response is not transformed.

    Raises
    ------
    FitError
        If the transformation is not known, or does not do what its name says.
    """
    assert design.formula is not None and design.frame is not None
    code = design.formula.response
    tree = ast.parse(code.strip(), mode="eval").body
    constants = {k: v for k, v in design.scope.values.items() if isinstance(v, (int, float))}
    outer = _affine(tree, constants)
    if outer is not None and _column(outer[0]) in design.frame:
        return ResponseScale(code, (1.0, 0.0), outer[1:], SAME) if outer[1:] != (1.0, 0.0) else None
    found = None if outer is None else _transformation(outer[0], constants)
    inner = None if found is None else _affine(found[1], constants)
    column = None if inner is None else _column(inner[0])
    if found is not None and outer is not None and inner is not None and column in design.frame:
        scale = ResponseScale(code, inner[1:], outer[1:], found[0])
        if np.allclose(scale.back(design.y), np.asarray(design.frame[column], dtype=float)):
            return scale
    raise FitError(
        f"type='response' does not know the way back from {code!r}. It knows {_KNOWN} of one "
        "column, times and plus numbers. Use type='link' and transform the means yourself."
    )


def _affine(node: ast.expr, constants: Mapping[str, Any]) -> tuple[ast.expr, float, float] | None:
    """Return (atom, slope, intercept) of an expression that is slope * atom + intercept."""
    if isinstance(node, ast.Call) and _called(node) == "I" and len(node.args) == 1:
        return _affine(node.args[0], constants)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inside = _affine(node.operand, constants)
        return None if inside is None else (inside[0], -inside[1], -inside[2])
    if not isinstance(node, ast.BinOp) or not isinstance(
        node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)
    ):
        return node, 1.0, 0.0
    left, right = (_constant(side, constants) for side in (node.left, node.right))
    if (left is None) == (right is None):
        return node, 1.0, 0.0
    inside = _affine(node.left if left is None else node.right, constants)
    number = right if left is None else left
    if inside is None or number is None:
        return None
    atom, slope, intercept = inside
    if isinstance(node.op, ast.Add):
        return atom, slope, intercept + number
    if isinstance(node.op, ast.Sub):
        sign = 1.0 if left is None else -1.0
        return atom, sign * slope, sign * (intercept - number)
    if isinstance(node.op, ast.Mult):
        return atom, slope * number, intercept * number
    return (atom, slope / number, intercept / number) if left is None else (node, 1.0, 0.0)


def _constant(node: ast.expr, constants: Mapping[str, Any]) -> float | None:
    """Return the value of a number, also of a name of one or of -number."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in constants:
        return float(constants[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inside = _constant(node.operand, constants)
        return None if inside is None else -inside
    return None


def _transformation(
    node: ast.expr, constants: Mapping[str, Any]
) -> tuple[_Inverse, ast.expr] | None:
    """Return the inverse of a transformation and what it is of."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        power = _constant(node.right, constants)
        return None if not power else (_power(1.0 / power), node.left)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # 1 / y; affine() took others
        number = _constant(node.left, constants)
        if number is None or number == 0.0:
            return None
        return _reciprocal(number), node.right
    if not isinstance(node, ast.Call) or node.keywords or not node.args:
        return None
    name, inside = _called(node), node.args[0]
    if name == "power" and len(node.args) == 2:
        return _transformation(ast.BinOp(inside, ast.Pow(), node.args[1]), constants)
    if len(node.args) != 1:
        return None
    if name in ("arcsin", "asin") and isinstance(inside, ast.Call) and _called(inside) == "sqrt":
        return _ARCSINE_ROOT, inside.args[0]
    if name == "log" and (odds := _odds(inside, constants)) is not None:
        return _FUNCTIONS["logit"], odds
    return (_FUNCTIONS[name], inside) if name in _FUNCTIONS else None


def _called(node: ast.Call) -> str:
    """Return the name of a function, without its module."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _odds(node: ast.expr, constants: Mapping[str, Any]) -> ast.expr | None:
    """Return p of p / (1 - p), y / c of y / (c - y)."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)):
        return None
    rest = node.right
    if not (isinstance(rest, ast.BinOp) and isinstance(rest.op, ast.Sub)):
        return None
    same = ast.dump(rest.right) == ast.dump(node.left)
    whole = _constant(rest.left, constants)
    if not same or not whole:
        return None
    return node.left if whole == 1.0 else ast.BinOp(node.left, ast.Div(), rest.left)


def _column(node: ast.expr) -> str | None:
    """Return the name in y or Q('y')."""
    if (
        isinstance(node, ast.Call)
        and _called(node) == "Q"
        and isinstance(node.args[0], ast.Constant)
    ):
        return str(node.args[0].value)
    return node.id if isinstance(node, ast.Name) else None
