"""Whether the code of a predictor may be evaluated: its syntax tree is read before anything runs.

An expression of a formula computes one column from others. It needs names, arithmetic, comparisons,
subscripts, and calls of functions and methods; all of these are looked at one by one, and what is
not known to be harmless is either listed (a function, a method, a class: someone may trust it by
name) or refused for good (syntax and names that lead to the interpreter itself).
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mixedlm_ext.errors import DesignError
from mixedlm_ext.prediction.allowed import BUILTINS, FORMULA, FUNCTIONS, METHODS, MODULES, SIZED
from mixedlm_ext.prediction.portable import references

__all__ = ["Vetting", "names_to_trust", "parse_expression"]

_LONGEST = 20_000
"""Characters of an expression."""
_LARGEST = 2**64
"""Whole numbers in an expression, and their powers."""
_MOST = 10_000
"""Numbers given to functions that make something of that size."""
_MEMORY = re.compile(r"_patsy_stobj\d+__\w+__")
"""patsy's names of the memories of stateful transforms."""

_SYNTAX = (
    ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Dict, ast.List, ast.Set, ast.Slice,
    ast.Subscript, ast.Tuple, ast.UnaryOp, ast.keyword, ast.Load,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def parse_expression(code: Any) -> ast.Expression:
    """Return the syntax tree of one expression.

    Raises
    ------
    DesignError
        If it is none, or too long or too deep to be one of a formula.
    """
    if not isinstance(code, str) or len(code) > _LONGEST:
        raise DesignError(f"{str(code)[:60]!r} is no expression of a formula.")
    try:
        return ast.parse(code.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DesignError(f"{code[:60]!r} is no expression of a formula.") from None


@dataclass
class Vetting(ast.NodeVisitor):
    """Reads expressions and collects the names that someone has to trust.

    Parameters
    ----------
    columns : collection of str
        Columns of the data: they hide everything else of their name.
    scope : mapping of str to object
        What else the expressions see, as `portable.encode` writes it.
    memories : mapping of str to object
        Memories of stateful transforms of the expression that is read, written likewise.

    Attributes
    ----------
    wanted : dict of str to None
        Names to trust, in order of their appearance.
    """

    columns: Collection[str]
    scope: Mapping[str, Any]
    memories: Mapping[str, Any] = field(default_factory=dict)
    wanted: dict[str, None] = field(default_factory=dict, init=False)
    code: str = field(default="", init=False)

    def read(self, code: str, memories: Mapping[str, Any]) -> None:
        """Read one expression.

        Raises
        ------
        DesignError
            If nobody may evaluate it.
        """
        self.code, self.memories = code, memories
        for name, memory in memories.items():
            if not _MEMORY.fullmatch(name):
                raise self._refusal(f"{name!r} for the memory of a stateful transform")
            self._want(references(memory))
        tree = parse_expression(code)
        try:
            self.visit(tree.body)
        except RecursionError:
            raise self._refusal("too many levels") from None

    def generic_visit(self, node: ast.AST) -> None:
        """Go on below syntax that computes values from values; refuse other syntax."""
        if not isinstance(node, _SYNTAX):
            raise self._refusal(f"syntax of the kind {type(node).__name__}")
        super().generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Refuse numbers that are too large to compute with."""
        self._number(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Refuse constants that grow: powers, and text or lists that are repeated or padded."""
        self._number(node)
        if isinstance(node.op, ast.Mult | ast.Mod):
            for side in (node.left, node.right):
                text = isinstance(side, ast.Constant) and isinstance(side.value, str | bytes)
                if text or isinstance(side, ast.List | ast.Tuple):
                    raise self._refusal("text or a list in * or %")
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        """Columns, what the formula found in the caller's scope, functions of the language."""
        name = node.id
        if name in self.columns or name in self.memories:
            return
        if name.startswith("__"):
            raise self._refusal(f"the name {name!r}")
        if name in self.scope:
            value = self.scope[name]
            self._want(references(value))
            self._want([value["module"]] if isinstance(value, dict) and "module" in value else ())
            self._number(node)
        elif name not in FORMULA and name not in BUILTINS:
            if not hasattr(builtins, name):
                raise self._refusal(f"the unknown name {name!r}")
            self._want([f"builtins.{name}"])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A name in a module, a method of a value, or the transform of a memory."""
        root, path = _root(node)
        hidden = [name for name in path if name.startswith("_")]
        if hidden:
            raise self._refusal(f"the attribute {hidden[0]!r}")
        if root is None or root in self.columns:
            self._method(node)
        elif root in self.memories:
            if path != ["transform"]:
                raise self._refusal(f"{'.'.join(path)!r} of a stateful transform")
        elif root in self.scope:
            self._member(root, path, node)
        elif root in FORMULA or hasattr(builtins, root):
            raise self._refusal(f"the attribute {node.attr!r} of {root!r}")
        else:
            raise self._refusal(f"the unknown name {root!r}")

    def _member(self, root: str, path: list[str], node: ast.Attribute) -> None:
        """Something in a module, or an attribute of something else of the scope."""
        value = self.scope[root]
        known = value if isinstance(value, dict) else {}
        if "module" in known:
            dotted = ".".join([str(known["module"]), *path])
            if known["module"] in MODULES and dotted in FUNCTIONS:
                return
            constant = ".".join([str(known["module"]), *path[:-1]])
            if constant in FUNCTIONS and path[-1] in METHODS:  # np.pi.real
                return
            self._want([dotted])
        elif owner := known.get("import") or known.get("object"):
            self._want(references(value))
            self._want([".".join([*map(str, owner), *path])])
        else:
            self._method(node)

    def _method(self, node: ast.Attribute) -> None:
        if node.attr not in METHODS:
            self._want([f".{node.attr}"])
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        """A function or method by its name, with arguments one by one."""
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name is None and not isinstance(node.func, ast.Attribute):
            raise self._refusal("a call of what another expression returns")
        if name in self.columns or name in self.memories:
            raise self._refusal(f"a call of {name!r}, which is no function")
        if name == "Q" and name not in self.scope:
            self._column_by_name(node)
        self.visit(node.func)
        if (name or getattr(node.func, "attr", None)) in SIZED:
            self._check_sizes(node)
        for argument in [*node.args, *node.keywords]:
            self.visit(argument)

    def visit_keyword(self, node: ast.keyword) -> None:
        """An argument by name, not a ``**`` that unpacks."""
        if node.arg is None:
            raise self._refusal("a ** that unpacks arguments")
        self.visit(node.value)

    def _column_by_name(self, node: ast.Call) -> None:
        """Refuse ``Q`` of anything but a column: it looks up every name there is."""
        only = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if not (isinstance(only, ast.Constant) and only.value in self.columns):
            raise self._refusal("a Q() of something that is no column")

    def _check_sizes(self, node: ast.Call) -> None:
        """Refuse numbers of bins, knots and the like that would fill the memory."""
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            number = self._number(argument)
            if isinstance(number, int) and abs(number) > _MOST:
                raise self._refusal(f"the size {number}")

    def _number(self, node: ast.AST) -> Any:
        """Return the value of an expression of constants, None for others; small ones only."""
        value: Any = None
        if isinstance(node, ast.Constant):
            value = node.value
        elif isinstance(node, ast.Name) and node.id not in self.columns:
            value = self.scope.get(node.id)
        elif isinstance(node, ast.UnaryOp):
            value = self._number(node.operand)
        elif isinstance(node, ast.BinOp):
            left, right = self._number(node.left), self._number(node.right)
            if left is not None and right is not None:
                value = self._computed(left, right, node.op)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise self._refusal("a whole number too large to compute with")
        return value

    def _computed(self, left: Any, right: Any, op: ast.operator) -> Any:
        """Return a size that bounds the result of an operation on two numbers."""
        try:
            if isinstance(op, ast.Pow):
                size = float(abs(left)) ** float(right)
            elif isinstance(op, ast.LShift):
                size = float(abs(left)) * 2.0 ** float(right)
            else:
                size = max(abs(float(left) * float(right)), abs(left) + abs(right))
        except (OverflowError, ZeroDivisionError):
            size = float("inf")
        whole = isinstance(left, int) and isinstance(right, int) and size != float("inf")
        if size > _LARGEST and isinstance(left, int) and isinstance(right, int):
            raise self._refusal("a whole number too large to compute with")
        return int(size) if whole else size

    def _want(self, names: Iterable[str]) -> None:
        self.wanted.update(dict.fromkeys(names))

    def _refusal(self, what: str) -> DesignError:
        return DesignError(
            f"the expression {self.code[:200]!r} has {what}, which no expression of a predictor "
            "may have. Nothing was evaluated."
        )


def _root(node: ast.Attribute) -> tuple[str | None, list[str]]:
    """Return the name that a chain of attributes starts with, None if it starts otherwise."""
    path = []
    at: ast.expr = node
    while isinstance(at, ast.Attribute):
        path.append(at.attr)
        at = at.value
    return (at.id if isinstance(at, ast.Name) else None), path[::-1]


def names_to_trust(record: Mapping[str, Any]) -> list[str]:
    """Return what a predictor's record would use that is not harmless by itself.

    Raises
    ------
    DesignError
        If it has an expression that nobody may evaluate.
    """
    vetting = Vetting(frozenset(record["columns"]), record["scope"])
    for expression in record["expressions"].values():
        vetting.read(expression["code"], expression["transforms"])
    return list(vetting.wanted)
