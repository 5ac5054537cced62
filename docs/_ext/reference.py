"""Writes the pages of the API before the build reads them, from the package as it is.

Each page is one topic. A public name that no topic lists ends on the last page of its kind, so that
none is missing.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mixedlm_ext import absent

FOLDER = "api"
PACKAGE = "mixedlm_ext"

RESULTS = {
    "estimates": (
        "Estimates",
        "What was estimated, as attributes and frames.",
        "summary summary2 varcorr vcomp cov_re random_effects random_effects_sd random_effects_cov "
        "group_coefs n_groups tidy glance augment icc r2 total_variance cov_params "
        "theta sigma objective deviance llf optimization converged singular",
    ),
    "tests": (
        "Tests, intervals and comparisons",
        "Hypotheses about fixed effects and random terms.",
        "with_ddf ddf df_resid_inference conf_int t_test f_test wald_test wald_test_terms anova "
        "ranova drop1 step compare compare_lr_test compare_bootstrap robust_cov "
        "get_robustcov_results",
    ),
    "means": (
        "Marginal means",
        "Means and slopes averaged over what is not asked.",
        "emmeans emtrends",
    ),
    "profile": ("Profiles and bootstrap", "Intervals for every parameter.", "profile bootstrap"),
    "prediction": (
        "Prediction and simulation",
        "At the data of the fit, at new data, elsewhere.",
        "predict get_prediction to_predictor simulate refit refit_ml update fittedvalues resid",
    ),
    "diagnostics": (
        "Diagnostics",
        "What may be wrong with a fit.",
        "check residuals leverage get_influence influence re_pca vif all_fit",
    ),
}
"""Pages of methods of the results: file, title, one line, names in order."""

CLASSES = {"Bootstrap", "Predictor", "RandomTerm"}
"""Classes that stand among the functions."""

INNER = {"Assembled", "Design", "Face", "Fit", "Fitted", "GeneralizedFit", "TermDesign"}
"""Records of the engine: CONTRIBUTING has them."""


def write(app: Any) -> None:
    """Write all pages into the folder of the API."""
    package = importlib.import_module(PACKAGE)
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    pages = {
        "model": model_page(package),
        **results_pages(package),
        "generalized": generalized_page(package),
        "functions": functions_page(package),
        "objects": objects_page(package),
        "plots": module_page(f"{PACKAGE}.plots", "Pictures", "Each returns a matplotlib Figure."),
        "errors": errors_page(package),
    }
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def model_page(package: Any) -> str:
    """Return the page of `MixedLM`: its arguments, then its own methods."""
    model = package.MixedLM
    first = [
        "from_formula",
        "fit",
        "fit_many",
        "power",
        "simulate",
        "objective",
        "score",
        "hessian",
    ]
    methods = [*first, *sorted(own_names(model) - set(first))]
    parts = [heading("The model", "="), f".. autoclass:: {PACKAGE}.MixedLM\n"]
    parts += [directive(model, name) for name in methods if documented(model, name)]
    return "\n".join(parts)


def results_pages(package: Any) -> dict[str, str]:
    """Return the pages of the results, one a topic."""
    results = package.MixedLMResults
    listed = {name for _, _, names in RESULTS.values() for name in names.split()}
    pages = {}
    for stem, (title, line, names) in RESULTS.items():
        parts = [heading(title, "="), line + "\n"]
        if stem == "estimates":
            parts.append(f".. autoclass:: {PACKAGE}.MixedLMResults\n")
        shown = names.split()
        if stem == "diagnostics":
            shown += sorted(own_names(results) - listed - INTERNAL)
        parts += [directive(results, name) for name in shown if documented(results, name)]
        pages[f"results-{stem}"] = "\n".join(parts)
    return pages


def generalized_page(package: Any) -> str:
    """Return the page of `MixedGLM` and its results."""
    parts = [heading("Generalized models", "=")]
    for cls, first in ((package.MixedGLM, ["from_formula", "fit"]), (package.MixedGLMResults, [])):
        parts.append(f".. autoclass:: {PACKAGE}.{cls.__name__}\n")
        names = [*first, *sorted(own_names(cls) - set(first) - INTERNAL)]
        parts += [directive(cls, name) for name in names if documented(cls, name)]
    return "\n".join(parts)


def functions_page(package: Any) -> str:
    """Return the page of the package's functions and further classes."""
    parts = [heading("Functions and further classes", "=")]
    for name in package.__all__:
        thing = getattr(package, name)
        if inspect.isfunction(thing):
            parts.append(f".. autofunction:: {PACKAGE}.{name}\n")
        elif name in CLASSES:
            parts.append(f".. autoclass:: {PACKAGE}.{name}\n   :members:\n")
    parts.append(f".. autofunction:: {PACKAGE}.formula.api.mixedlm\n")
    parts.append(f".. autofunction:: {PACKAGE}.formula.api.mixedglm\n")
    parts.append(
        f".. autoclass:: {PACKAGE}.sklearn.MixedLMRegressor\n   :members: fit, predict, score\n"
    )
    return "\n".join(parts)


def objects_page(package: Any) -> str:
    """Return the page of the classes that no user makes and many meet, by their names."""
    line = "What methods and functions hand back, beside pandas' frames and statsmodels' tests."
    parts = [heading("Objects that are returned", "="), line + "\n"]
    for name, cls in sorted(returned(package).items()):
        path = f"{cls.__module__}.{name}"
        parts += [heading(name, "-"), f".. autoclass:: {path}()\n"]
        own = [n for n, value in vars(cls).items() if is_method(value) and not n.startswith("_")]
        parts += [f".. automethod:: {path}.{n}\n" for n in own if documented(cls, n)]
    return "\n".join(parts)


def returned(package: Any) -> dict[str, type]:
    """Return the package's classes that annotations of public methods and functions promise."""
    faces = (package.MixedLM, package.MixedLMResults, package.MixedGLM, package.MixedGLMResults)
    sources = [getattr(package, name) for name in package.__all__]
    for cls in faces:
        sources += [inspect.getattr_static(cls, name) for name in own_names(cls) - INTERNAL]
    found = {}
    for source in sources:
        function = inspect.unwrap(getattr(source, "fget", None) or getattr(source, "func", source))
        if not inspect.isfunction(function):
            continue
        for name in re.findall(r"\w+", str(function.__annotations__.get("return"))):
            cls = function.__globals__.get(name)
            if inspect.isclass(cls) and cls.__module__.startswith(PACKAGE):
                found[name] = cls
    return {n: cls for n, cls in found.items() if cls not in faces and n not in CLASSES | INNER}


def module_page(module: str, title: str, line: str) -> str:
    """Return the page of all public functions of a module."""
    names = [n for n in importlib.import_module(module).__all__ if not n.endswith("Error")]
    parts = [heading(title, "="), line + "\n"]
    return "\n".join([*parts, *(f".. autofunction:: {module}.{name}\n" for name in names)])


def errors_page(package: Any) -> str:
    """Return the page of errors and warnings."""
    parts = [heading("Errors and warnings", "=")]
    for name in package.__all__:
        thing = getattr(package, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            parts.append(f".. autoexception:: {PACKAGE}.{name}\n   :show-inheritance:\n")
    return "\n".join(parts)


INTERNAL = {
    *("fit_again", "fit_record", "ssr", "fe_params", "bse_fe", "k_fe", "df_modelwc", "method"),
    *("reml", "model", "bse", "tvalues", "pvalues", "remove_data", "ddf_method"),
}
"""Names of statsmodels that the class page lists, and what only the package calls."""


def own_names(cls: type) -> set[str]:
    """Return the public names that the package itself defines on a class."""
    owners = [c for c in cls.__mro__ if c.__module__.startswith(PACKAGE)]
    return {name for owner in owners for name in vars(owner) if not name.startswith("_")} - {
        "serve", "results_of", "drop_rows", "with_design", "problem", "assembled", "face",
    }  # fmt: skip


def documented(cls: type, name: str) -> bool:
    """Tell whether the class has the name, with a docstring and not only to refuse it."""
    value = inspect.getattr_static(cls, name, None)
    return bool((inspect.getdoc(value) or "").strip()) and not isinstance(value, absent._NotHere)


def directive(cls: type, name: str) -> str:
    """Return the directive that documents one name of a class."""
    kind = "method" if is_method(inspect.getattr_static(cls, name)) else "attribute"
    return f".. auto{kind}:: {PACKAGE}.{cls.__name__}.{name}\n"


def is_method(value: Any) -> bool:
    """Tell whether what a class has under a name is called."""
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)


def heading(text: str, underline: str) -> str:
    """Return a heading."""
    return f"{text}\n{underline * len(text)}\n"


def pages() -> Iterable[str]:
    """Return the documents that `write` makes, in the order of the table of contents."""
    results = [f"results-{stem}" for stem in RESULTS]
    return ["model", *results, "generalized", "functions", "objects", "plots", "errors"]


def setup(app: Any) -> dict[str, Any]:
    """Write the pages when a build begins."""
    app.connect("builder-inited", write, priority=100)
    return {"version": "1", "parallel_read_safe": True}
