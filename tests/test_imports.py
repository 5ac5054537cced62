"""The arrows between modules point one way, and only known packages are imported."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "mixedlm_ext"
ROOT = Path(__file__).parents[1] / PACKAGE

# Lowest first. A unit is a module or a folder of modules, named below the package; it may import
# units of strictly lower layers, and itself. The longest matching name counts, so
# inference.all_fit is not part of inference. The empty name is the package's own __init__.
LAYERS: list[list[str]] = [
    ["bases", "caching", "compat", "errors", "datasets", "tables"],
    ["absent", "display", "keywords", "linalg", "parallel"],
    ["families", "structures"],
    ["language", "residual"],
    ["design"],
    ["products", "sources"],
    ["solvers"],
    ["criteria"],
    ["batches", "prediction.allowed"],
    ["prediction.portable"],
    ["sites"],
    ["arguments", "identification", "model_data"],
    ["search"],
    ["estimation"],
    ["geometry", "many", "method", "model_copies", "prediction"],
    ["simulation"],
    ["inference", "inference.choices", "inference.parameters"],
    ["inference.residual_restrictions"],
    ["inference.fixed", "inference.restrictions"],
    ["fit_arguments", "inference.all_fit", "inference.means", "inference.profile"],
    ["fitting"],
    ["inference.again", "inference.update"],
    ["inference.compare"],
    ["inference.bootstrap"],
    ["inference.intervals"],
    ["diagnostics", "fit_many", "prediction.results"],
    ["prediction.predict"],
    ["labelled_effects", "report"],
    ["mixed_results"],
    ["generalized", "results"],
    ["model", "plots", "stages"],
    ["formula", "sklearn"],
    [""],
    ["shell"],
    ["__main__"],
]

# Data are for users: nothing in the package computes with them.
NOT_IMPORTED_BELOW = {"datasets": ""}

THIRD_PARTY = {"numpy", "pandas", "patsy", "scipy", "statsmodels"}

# What results hold by name only, for type checkers: the model that made them. Users go both ways,
# ``model.fit()`` and ``result.model``; code goes one.
NAMED_ABOVE = {"results": "model", "generalized.results": "generalized.model"}

# Modules that nothing imports but those who have the optional package that they are about.
OPTIONAL_MODULES = {"sklearn": {"sklearn"}}

LAYER = {unit: height for height, units in enumerate(LAYERS) for unit in units}


class Import(NamedTuple):
    """One imported module, as the source names it; `top_level` if importing the file runs it."""

    target: str
    line: int
    top_level: bool


def module_name(path: Path) -> str:
    """Name a file below the package: ``linalg/factor.py`` is ``linalg.factor``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def unit_of(module: str) -> str | None:
    """Find the most specific unit of the table that holds `module`."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        unit = ".".join(parts[:length])
        if unit in LAYER:
            return unit
    return None


def is_type_checking(node: ast.AST) -> bool:
    """Tell whether `node` is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING"


def imports_in(node: ast.AST, package: str, top_level: bool = True) -> Iterator[Import]:
    """Walk the imports; those under ``if TYPE_CHECKING:`` count, but none of them runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, top_level)
        elif isinstance(child, ast.ImportFrom):
            base = absolute(child, package)
            for alias in child.names:
                yield Import(resolve(base, alias.name), child.lineno, top_level)
        elif is_type_checking(child):
            assert isinstance(child, ast.If)
            yield from imports_in(ast.Module(child.body, []), package, False)
            yield from imports_in(ast.Module(child.orelse, []), package, top_level)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_in(child, package, top_level and not inside)


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Give the full name of the module after ``from``."""
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    base = parents[: len(parents) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def resolve(base: str, name: str) -> str:
    """Tell ``from package import module`` from ``from module import name``."""
    whole = f"{base}.{name}"
    return whole if whole.removeprefix(f"{PACKAGE}.") in MODULES else base


@cache
def imports_of(module: str) -> list[Import]:
    """List what the file of `module` imports."""
    path = MODULES[module]
    package = ".".join([PACKAGE, *path.relative_to(ROOT).parts[:-1]])
    return [
        found
        for found in imports_in(ast.parse(path.read_text(encoding="utf-8")), package)
        if found.top_level or (module, inner(found.target)) not in NAMED_ABOVE.items()
    ]


def inner(target: str) -> str | None:
    """Name an imported module below the package; None for anything outside it."""
    if target == PACKAGE:
        return ""
    return target.removeprefix(f"{PACKAGE}.") if target.startswith(f"{PACKAGE}.") else None


def may_import(importer: str, imported: str) -> bool:
    """Say whether the table lets one unit import another."""
    lowest = NOT_IMPORTED_BELOW.get(imported, imported)
    return importer == imported or (
        LAYER[imported] < LAYER[importer] and LAYER[lowest] <= LAYER[importer]
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_in_the_table(module: str) -> None:
    assert unit_of(module) is not None, (
        f"{PACKAGE}.{module} is in no layer; add it to LAYERS in {Path(__file__).name}"
    )


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module: str) -> None:
    importer = unit_of(module)
    wrong = []
    for found in imports_of(module):
        target = inner(found.target)
        imported = None if target is None else unit_of(target)
        if importer is None or imported is None:
            continue  # outside the package, or reported by the test above
        if not may_import(importer, imported):
            wrong.append(f"{MODULES[module].name}:{found.line} imports {found.target}")
    assert not wrong, f"{module or '__init__'} may only import lower layers: {wrong}"


@pytest.mark.parametrize("module", MODULES)
def test_only_dependencies_are_imported_at_module_level(module: str) -> None:
    allowed = (
        THIRD_PARTY | sys.stdlib_module_names | {PACKAGE} | OPTIONAL_MODULES.get(module, set())
    )
    wrong = [
        f"{MODULES[module].name}:{found.line} imports {found.target}"
        for found in imports_of(module)
        if found.top_level and found.target.split(".")[0] not in allowed
    ]
    assert not wrong, f"import optional packages inside the function that needs them: {wrong}"


def test_no_cycles() -> None:
    graph = {
        module: {
            target
            for found in imports_of(module)
            if (target := inner(found.target)) is not None and target != module
        }
        for module in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


def test_the_table_names_each_unit_once() -> None:
    units = [unit for layer in LAYERS for unit in layer]
    assert len(units) == len(set(units))


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("from . import _load", "mixedlm_ext.datasets", ("mixedlm_ext.datasets._load", True)),
        ("from .. import errors", "mixedlm_ext.linalg", ("mixedlm_ext.errors", True)),
        ("from ..errors import FitError", "mixedlm_ext.linalg", ("mixedlm_ext.errors", True)),
        ("import scipy.linalg as sl", "mixedlm_ext", ("scipy.linalg", True)),
        ("def f():\n    import polars", "mixedlm_ext", ("polars", False)),
        ("try:\n    import polars\nexcept ImportError: pass", "mixedlm_ext", ("polars", True)),
        ("if TYPE_CHECKING:\n    import polars", "mixedlm_ext", ("polars", False)),
        ("if typing.TYPE_CHECKING:\n    pass\nelse:\n    import re", "mixedlm_ext", ("re", True)),
        ("if not TYPE_CHECKING:\n    import re", "mixedlm_ext", ("re", True)),
    ],
)
def test_the_walk(source: str, package: str, expected: tuple[str, bool]) -> None:
    found = [(item.target, item.top_level) for item in imports_in(ast.parse(source), package)]
    assert found == [expected]


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("criteria", "linalg", True),
        ("linalg", "criteria", False),
        ("linalg", "structures", False),
        ("formula", "model", True),
        ("language", "formula", False),
        ("", "datasets", True),
        ("model", "datasets", False),
        ("inference.fixed", "results", False),
        ("plots", "results", True),
        ("model", "", False),
    ],
)
def test_the_rule(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed


@pytest.mark.parametrize("module", NAMED_ABOVE)
def test_results_name_their_model_and_do_not_use_it(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    name = {"results": "MixedLM", "generalized.results": "MixedGLM"}[module]
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    annotations = [
        node.annotation for node in ast.walk(tree) if isinstance(node, ast.AnnAssign | ast.arg)
    ]
    assert uses and all(use in annotations for use in uses)


def test_nothing_below_the_face_knows_it() -> None:
    """Inference, prediction, diagnostics and reports take `Fitted` or less."""
    face = {"results", "model"}
    knowing = {
        module for module in MODULES for found in imports_of(module) if inner(found.target) in face
    }
    above = {"", "__main__", "formula.api", "model", "sklearn"}
    assert {module for module in knowing if not module.startswith("plots")} <= above


def test_nothing_is_written_behind_the_back_of_a_record() -> None:
    """Only what makes objects anew, and the cache itself, writes into an object's dict."""
    makers = {"caching", "design.memory", "prediction.portable"}
    back_door = re.compile(
        r"object\.__setattr__|(__dict__|vars\([^()]*\))(\[[^]]*\] = |\.(update|setdefault|pop)\()"
    )
    found = {m for m, path in MODULES.items() if back_door.search(path.read_text(encoding="utf-8"))}
    assert found == makers


def test_the_walks_of_the_map_name_what_is_there() -> None:
    """CONTRIBUTING's four walks and, in its table, the files of each step."""
    text = (ROOT.parent / "CONTRIBUTING.rst").read_text(encoding="utf-8")
    walks = text.partition("Four walks\n")[2].partition("\nHabits\n")[0]
    names = re.findall(r"``([\w.]+)``", walks)
    assert len(names) > 15
    for name in names:
        module, _, what = name.rpartition(".")
        assert hasattr(import_module(f"{PACKAGE}.{module}"), what), name
    table = text.partition(".. list-table::")[2].partition("\n\n``errors.py``")[0]
    files = {Path(file).name for file in re.findall(r"``([\w/]+\.py)``", table)}
    assert files and files <= {path.name for path in MODULES.values()}
