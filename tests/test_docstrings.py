"""Docstrings follow numpydoc: what is documented is what there is, in its order."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cached_property

import pytest

import mixedlm_ext
from mixedlm_ext.arguments import read_formula

validation = pytest.importorskip("numpydoc.validate")

CHECKED = {
    "GL01": "text starts right after the quotes, or on the next line",
    "GL03": "two blank lines",
    "GL06": "unknown section",
    "GL07": "wrong order of sections",
    "GL08": "no docstring",
    "GL09": "deprecation in the wrong place",
    "PR01": "parameter that is not documented",
    "PR02": "documented parameter that does not exist",
    "PR03": "wrong order of parameters",
    "PR10": "no space before the colon of a parameter",
    "SS01": "no summary",
    "SS03": "no full stop after the summary",
    "SS04": "spaces before the summary",
}
CLASSES = (
    mixedlm_ext.MixedLM,
    mixedlm_ext.MixedLMResults,
    mixedlm_ext.MixedGLM,
    mixedlm_ext.MixedGLMResults,
)
ACCESSORS = (property, cached_property)
SHOWN = {read_formula} | {
    value.__wrapped__
    for cls in CLASSES
    for value in vars(cls).values()
    if inspect.isfunction(value) and hasattr(value, "__wrapped__")
}
"""Functions whose docstrings are those of methods, from the second parameter on."""


def modules() -> Iterator[str]:
    """All modules of the package; those of single data sets look alike."""
    yield "mixedlm_ext"
    for found in pkgutil.walk_packages(mixedlm_ext.__path__, "mixedlm_ext."):
        if found.name != "mixedlm_ext.__main__" and ".datasets." not in found.name:
            yield found.name


def objects() -> Iterator[str]:
    """The names of the functions and classes that modules export, and of the latter's methods."""
    for name in modules():
        module = importlib.import_module(name)
        for exported in getattr(module, "__all__", ()):
            value = getattr(module, exported)
            if getattr(value, "__module__", None) != name:
                continue  # is checked where it is defined
            if value in SHOWN:
                continue  # is checked as the method that shows it
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{name}.{exported}"
            if inspect.isclass(value):
                yield from (f"{name}.{exported}.{method}" for method in methods(value))


def methods(cls: type) -> list[str]:
    """The public methods and properties that a class itself defines.

    What a protocol lists among its attributes needs no docstring of its own.
    """
    listed = set(re.findall(r"^ *([\w, ]+?) :", cls.__doc__ or "", re.M))
    listed = {name for names in listed for name in names.split(", ")}
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and not (isinstance(value, property) and not value.__doc__ and name in listed)
        and (inspect.isfunction(value) or isinstance(value, (classmethod, *ACCESSORS)))
        and getattr(value, "__module__", cls.__module__) == cls.__module__  # no made wrappers
    ]


def problems(name: str) -> list[str]:
    """What numpydoc finds in one docstring, of what is checked.

    A docstring of one sentence needs no list of parameters; one that has a list has all of them.
    """
    found = validation.validate(name)
    sections = "Parameters\n" in found["docstring"] and "------" in found["docstring"]
    return [
        f"{name}: {code} {text}"
        for code, text in found["errors"]
        if code in CHECKED
        and (sections or code != "PR01")
        and not (
            code == "PR01" and set(text.split("'")[1::2]) <= {"**kwargs", "**unknown", "*more"}
        )
    ]


def test_docstrings() -> None:
    names = list(objects())
    assert "mixedlm_ext.model.MixedLM.fit" in names
    assert "mixedlm_ext.errors.FormulaError" in names
    assert [problem for name in names for problem in problems(name)] == []


def test_what_is_looked_for_is_found() -> None:
    def wrong(b: int, a: int) -> int:
        """Return nothing of interest

        Parameters
        ----------
        a: int
        c : int
        """
        return a + b

    globals()["wrong"] = wrong
    codes = {problem.split()[1] for problem in problems(f"{__name__}.wrong")}
    assert codes == {"PR01", "PR02", "PR10", "SS03"}
