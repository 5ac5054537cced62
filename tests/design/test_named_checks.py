"""Checks that are relaxed by name: ``check={"levels": "warn"}``."""

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.design.named_checks import CHECKS
from mixedlm_ext.errors import DesignError, DesignWarning, FormulaError
from mixedlm_ext.formula.api import mixedlm
from mixedlm_ext.identification import check_not_reproduced

RNG = np.random.default_rng(0)
N = 60
DATA = pd.DataFrame({"g": np.repeat(np.arange(12), 5), "row": np.arange(N), "one": 1})
DATA["b"] = DATA["g"].map(lambda level: f"L{level}")
DATA["x"], DATA["c"] = RNG.normal(size=N), 3.0
DATA["y"] = DATA["x"] + RNG.normal(size=12)[DATA["g"]] + RNG.normal(size=N)

Model = Callable[..., MixedLM]


def formula(text: str, **more: Any) -> Model:
    return lambda check=None: MixedLM.from_formula(text, DATA, check=check, **more)


def arrays(*terms: RandomTerm) -> Model:
    X = np.column_stack([np.ones(N), DATA["x"]])
    return lambda check=None: MixedLM(DATA["y"], X, list(terms), check=check)


CASES: list[tuple[str, Model, type[Exception], str]] = [
    ("levels", formula("y ~ x + (1 | row)"), DesignError, "60 levels for 60 observations"),
    ("levels", formula("y ~ x + (x + b | g)"), DesignError, "has 156 random effects"),
    ("levels", arrays(RandomTerm(DATA["row"])), DesignError, "60 levels for 60 observations"),
    ("levels", formula("y ~ x + (b || b)"), DesignError, "each column of (b || b) differs from ze"),
    (
        "levels",
        formula("y ~ x + (0 + I((g == 3) * 1.0) | g)"),
        DesignError,
        "in one level of 'g' only; a",
    ),
    ("slopes", formula("y ~ x + (0 + c | g)"), DesignError, "'c' of (0 + c | g) is constant"),
    ("repeated", formula("y ~ x + (1 | g) + (1 | b)"), FormulaError, "divide the rows in the same"),
    ("repeated", arrays(RandomTerm(DATA["g"]), RandomTerm(DATA["b"])), DesignError, "same groups"),
    ("rank", formula("y ~ x + I(2 * x) + (1 | g)"), DesignError, "rank deficient"),
    ("rank", formula("y ~ x + C(one) + (1 | g)"), DesignError, "has only one level in the data"),
]


@pytest.mark.parametrize(("name", "model", "error", "message"), CASES)
def test_a_check_of_the_design(
    name: str, model: Model, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        model({name: "error"})
    assert message in str(caught.value)
    with pytest.warns(DesignWarning) as seen:
        relaxed = model({name: "warn"})
    assert message in str(seen[0].message) and len(seen) == 1
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model({name: "ignore"})
    assert relaxed.design.checks[name] == "warn"


def test_the_defaults() -> None:
    for name, model, error, _ in CASES:
        expected = pytest.warns(DesignWarning) if CHECKS[name] == "warn" else pytest.raises(error)
        with expected:
            model()


def test_what_cannot_be_relaxed() -> None:
    """A column of zeros, and one that is a multiple of the intercept beside it."""
    for text in ("y ~ x + (0 + I(0 * x) | g)", "y ~ x + (c | g)"):
        with pytest.raises(DesignError, match="is constant"):
            MixedLM.from_formula(text, DATA, check={"slopes": "ignore"})


def test_as_many_levels_as_rows_are_fitted_when_wanted() -> None:
    """Only the sum of both variances is seen: it is that of least squares."""
    with pytest.warns(DesignWarning, match="60 levels for 60 observations"):
        model = MixedLM.from_formula("y ~ x + (1 | row)", DATA, check={"levels": "warn"})
    result = model.fit()
    total = result.sigma**2 * (1.0 + result.theta[0] ** 2)
    residual = DATA["y"] - np.polyval(np.polyfit(DATA["x"], DATA["y"], 1), DATA["x"])
    assert_allclose(total, residual @ residual / (N - 2), rtol=1e-8)


def test_with_weights_the_check_waits_for_sigma() -> None:
    weighted = {"weights": np.linspace(0.5, 2.0, N)}
    strict = MixedLM.from_formula("y ~ x + (1 | row)", DATA, **weighted)
    with pytest.raises(DesignError, match="60 levels for 60 observations"):
        strict.fit()
    relaxed = MixedLM.from_formula("y ~ x + (1 | row)", DATA, check={"levels": "warn"}, **weighted)
    with pytest.warns(DesignWarning, match="60 levels for 60 observations"):
        relaxed.fit()


def test_what_the_data_cannot_show_is_fitted_when_wanted() -> None:
    data = datasets.sleepstudy.load_pandas().data
    text = "Reaction ~ Subject + Days + (Days | Subject)"
    model = MixedLM.from_formula(text, data, check={"identified": "warn"})
    with pytest.warns(DesignWarning, match="lies within the fixed part") as seen:
        assert model.problem.cp.n == 180
    assert "check=" not in str(seen[0].message)
    MixedLM.from_formula(text, data, check={"identified": "ignore"}).fit()


def test_a_reproduced_response() -> None:
    data = DATA.assign(y=2.0 * DATA["x"] + 1.0)
    model = MixedLM.from_formula("y ~ x + (1 | g)", data, check={"reproduced": "warn"})
    with pytest.warns(DesignWarning, match="reproduced exactly"):
        check_not_reproduced(model.design, model.problem)
    ignored = MixedLM.from_formula("y ~ x + (1 | g)", data, check={"reproduced": "ignore"})
    check_not_reproduced(ignored.design, ignored.problem)


def test_the_choice_goes_with_the_model() -> None:
    check = {"repeated": "ignore"}
    result = mixedlm(
        "y ~ x + (1 | g) + (0 + c | g)", DATA, check={**check, "slopes": "ignore"}
    ).fit()
    assert result.update(". ~ . - x").model.design.checks["slopes"] == "ignore"
    again = pickle.loads(pickle.dumps(result.model))
    assert dict(again.design.checks.given) == {**check, "slopes": "ignore"}
    assert result.model.with_response(DATA["y"] + 1.0).design.checks["repeated"] == "ignore"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"level": "warn"}, "check has 'level', which is no check. Did you mean 'levels'? The ch"),
        ({3: "warn"}, "check has 3, which is no check."),
        (
            {"levels": "warning"},
            "'warning' is not 'error', 'warn' or 'ignore'. Did you mean 'warn'?",
        ),
        ({"levels": None}, "check={'levels': None}: None is not 'error', 'warn' or 'ignore'."),
        ({"levels": False}, "False is not 'error', 'warn' or 'ignore'."),
        ("warn", "check='warn' names no check. Pass a dict, such as check={'levels': 'warn'}; the"),
        (["levels"], "check=['levels'] names no check."),
    ],
)
def test_wrong_names(check: Any, message: str) -> None:
    for build in (formula("y ~ x + (1 | g)"), arrays(RandomTerm(DATA["g"]))):
        with pytest.raises(DesignError) as caught:
            build(check)
        assert message in str(caught.value)


def test_a_misspelt_argument_names_this_one() -> None:
    with pytest.raises(TypeError, match="Did you mean 'check'"):
        MixedLM.from_formula("y ~ x + (1 | g)", DATA, checks={"levels": "warn"})


def test_the_documentation_lists_every_check() -> None:
    text = MixedLM.from_formula.__doc__ or ""
    for name, action in CHECKS.items():
        assert any(line.split()[:2] == [f"``{name}``", action] for line in text.splitlines())
