"""What type checkers say about a user's file: right lines pass, wrong ones do not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from simulation import fit

import mixedlm_ext
from mixedlm_ext import datasets

ROOT = Path(mixedlm_ext.__file__).parents[1]
RIGHT = """
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    import statsmodels.api as sm
    from mixedlm_ext import MixedGLM, MixedGLMResults, MixedLM, MixedLMResults, RandomTerm
    from mixedlm_ext import anova, datasets, plots
    import mixedlm_ext.formula.api as smf

    data = datasets.sleepstudy.load_pandas().data
    result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit(reml=False)
    same: MixedLMResults = result.with_ddf("normal").refit(2.0 * data["Reaction"])
    table: pd.DataFrame = result.anova(type=3)
    compared: pd.DataFrame = result.compare(same)
    slope: float = result.params["Days"]
    modes: pd.DataFrame = result.random_effects["Subject"]
    residuals: pd.Series = result.resid
    means = result.emmeans("Days", at={"Days": [0, 9]}).summary_frame(alpha=0.1)
    boot = result.bootstrap(10, statistic=lambda r: r.params, rng=1).conf_int()
    power = result.model.power("Days = 0", [250.0, 10.0], theta=[1.0, 0.0, 0.2], n=10)
    model = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data)
    many = model.fit_many(data[["Reaction"]])
    print(many.params, anova(result, same), result.summary(alpha=0.1), result.sigma + 1.0)
    print(result.t_test("Days = 0").pvalue, result.f_test(np.eye(2)).pvalue, result.aic - same.aic)
    print(result.predict({"Days": [0], "Subject": ["308"]}), result.check().findings)
    plots.caterpillar(result)
    plots.trajectories(result, "Days")
    X = np.ones((180, 1))
    limits: pd.DataFrame = result.conf_int(alpha=0.1, method="profile", which="theta")
    some: np.ndarray = result.conf_int(cols=["Days"])
    print(limits.loc["sigma"], some[0], result.conf_int().loc["Days", 0])
    at: pd.Series = result.predict({"Days": [0], "Subject": ["308"]}, which="population")
    fitted: pd.Series = result.predict(newparams={"beta": [250.0, 10.0]})
    written: None = result.predict("new.parquet", out="predicted.parquet")
    for batch in result.predict("new.parquet"):
        print(batch.mean(), at.index, fitted.max())
    origin: MixedLM = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data)
    again: MixedLMResults = origin.with_response(2.0 * origin.endog).fit()
    scaled: pd.Series = again.residuals("scaled")
    shares = again.residuals("random")["Subject"]
    hat: pd.Series = again.leverage()
    fitted_model: MixedLM = again.model
    refitted: MixedLMResults = result.model.fit(reml=False).model.fit()
    print(fitted_model.exog_names, refitted.model.formula_full, result.model.design.n)
    print(written, scaled.std(), shares, hat.max())
    cbpp = datasets.cbpp.load_pandas().data
    formula = "incidence / size ~ period + (1 | herd)"
    glm = MixedGLM.from_formula(formula, cbpp, sm.families.Binomial(), weights="size")
    fit: MixedGLMResults = glm.fit(nagq=1)
    linear: pd.Series = fit.predict({"period": ["1"], "herd": ["1"]}, which="linear")
    print(fit.model.fit(nagq=9).model.family, fit.model.exog_names)
    print(linear.max(), fit.conf_int(0.1).loc["Intercept"], fit.resid_pearson, fit.nobs)
    arrays = MixedLM(data["Reaction"], X, [RandomTerm(data["Subject"], X)]).fit(ddf="normal")
    print(arrays.conf_int(), smf.mixedlm("Reaction ~ 1 + (1 | Subject)", data).fit().bic)
"""
HEAD = """
from mixedlm_ext import MixedGLMResults, MixedLM, MixedLMResults, plots

def wrong(model: MixedLM, result: MixedLMResults, glm: MixedGLMResults) -> None:
"""
WRONG = {
    "result.anova(type=[1])": ("int | str", "list[int]"),
    "result.anova(tpye=1)": ("tpye",),
    "result.ranova(1, 2, 3)": ("rgument",),
    "result.emtrends('a')": ("rgument",),
    "result.refit_ml().profile(alpha_max='small')": ("float",),
    "model.simulate(n='three', beta=[0.0])": ("int",),
    "x: int = result.drop1()": ("DataFrame", "int"),
    "y: str = result.sigma": ("float", "str"),
    "z: int = result.random_effects": ("DataFrame", "int"),
    "model.fit().nosuch()": ("nosuch", "MixedLMResults"),
    "result.fixef": ("fixef", "MixedLMResults"),
    "model.nosuch": ("nosuch", "MixedLM"),
    "result.model.nosuch()": ("nosuch", "MixedLM"),
    "f: MixedLM = glm.model": ("MixedGLM", "MixedLM"),
    "result.model.fit().nosuch": ("nosuch", "MixedLMResults"),
    "model.fit(tol='small')": ("float",),
    "plots.caterpillar(model)": ("MixedLM", "MixedLMResults"),
    "result.conf_int(alpha='small')": ("rgument",),
    "a: float = result.conf_int()": ("DataFrame", "float"),
    "b: float = result.predict()": ("Series", "float"),
    "result.predict(whihc='population')": ("rgument",),
    "c: float = result.residuals('random')": ("DataFrame", "float"),
    "result.summary(alhpa=0.1)": ("alhpa",),
    "d: float = glm.conf_int()": ("DataFrame", "float"),
    "e: float = glm.predict()": ("Series", "float"),
    "glm.bootstrap(kind='cluster')": ("kind",),
}
"""Lines, and words of the error."""


def mypy(file: Path) -> list[tuple[int, str]]:
    """The errors that mypy finds, with their lines."""
    pytest.importorskip("mypy")
    config = str(ROOT / "pyproject.toml")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, str(file)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return [(int(n), e) for n, e in re.findall(r":(\d+): error: (.*)", done.stdout)]


def pyright(file: Path) -> list[tuple[int, str]]:
    """The errors that pyright finds, with their lines."""
    pytest.importorskip("pyright")
    if shutil.which("node") is None:
        pytest.skip("pyright runs in node")
    settings = {"extraPaths": [str(ROOT)], "include": [file.name]}
    (file.parent / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        capture_output=True, text=True, cwd=file.parent, check=False,
    )  # fmt: skip
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        pytest.skip(f"pyright could not be started: {done.stderr}")
    assert found["summary"]["filesAnalyzed"] == 1
    return [
        (d["range"]["start"]["line"] + 1, d["message"])
        for d in found["generalDiagnostics"]
        if d["severity"] == "error"
    ]


CHECKERS = pytest.mark.parametrize("checker", [mypy, pyright])
Checker = Callable[[Path], list[tuple[int, str]]]


@pytest.mark.slow
@CHECKERS
def test_right_lines_pass(checker: Checker, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(textwrap.dedent(RIGHT), encoding="utf-8")
    assert checker(tmp_path / "user.py") == []


@pytest.mark.slow
@CHECKERS
def test_wrong_lines_do_not(checker: Checker, tmp_path: Path) -> None:
    lines = HEAD + "".join(f"    {line}\n" for line in WRONG)
    (tmp_path / "user.py").write_text(lines, encoding="utf-8")
    found = checker(tmp_path / "user.py")
    for number, (line, words) in enumerate(WRONG.items(), start=5):
        own = [message for n, message in found if n == number]
        assert any(all(word in message for word in words) for message in own), (line, found)


@pytest.mark.slow
@CHECKERS
def test_every_public_attribute_is_known(checker: Checker, tmp_path: Path) -> None:
    """Those inherited from statsmodels, too, whose types are declared in ``bases``."""
    result = fit("Reaction ~ Days + (1 | Subject)", datasets.sleepstudy.load_pandas().data)
    head = HEAD.replace("wrong", "names").replace(", plots", "")
    names = [f"model.{n}" for n in dir(result.model)] + [f"result.{n}" for n in dir(result)]
    names = [name for name in names if "._" not in name]
    assert len(names) > 120
    (tmp_path / "user.py").write_text(
        head + "".join(f"    print({name})\n" for name in names), encoding="utf-8"
    )
    assert checker(tmp_path / "user.py") == []
