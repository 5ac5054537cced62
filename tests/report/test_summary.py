"""Every printed summary keeps to the page and says what it should."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as statsmodels_smf
from statsmodels.iolib.summary2 import summary_col

from mixedlm_ext import DesignWarning, MixedLM, datasets

WIDTH = 78
SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
OATS = "Q('yield') ~ nitro * Variety + (nitro | Block) + (1 | Block:Variety)"


@lru_cache
def load(name: str = "sleepstudy") -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


def fit(formula: str = SLEEPSTUDY, data: Any = "sleepstudy", **arguments: Any) -> Any:
    """Fit without regard to warnings; `weights` go to the model."""
    data = load(data) if isinstance(data, str) else data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLM.from_formula(formula, data, weights=arguments.pop("weights", None))
        return model.fit(**arguments)


def squeezed(summary: Any) -> str:
    """The text with single spaces."""
    return " ".join(str(summary).split())


FITS = {
    "correlated": (SLEEPSTUDY, "sleepstudy"),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin"),
    "nested": ("score ~ Machine + (1 | Worker / Machine)", "machines"),
    "two correlations": ("score ~ Machine + (0 + Machine | Worker)", "machines"),
    "interactions, singular": (OATS, "oats"),
    "zero variance": ("Yield ~ 1 + (1 | Batch)", "dyestuff2"),
    "splines, three correlations": (
        "Reaction ~ bs(Days, df=4) + (bs(Days, df=3) | Subject)",
        "sleepstudy",
    ),
    "no fixed effects": ("Reaction ~ 0 + (1 | Subject)", "sleepstudy"),
    "two terms on a factor": (
        "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)",
        "sleepstudy",
    ),
    "tiny numbers": ("I(Reaction * 1e-9) ~ Days + (Days | Subject)", "sleepstudy"),
    "huge numbers": ("I(Reaction * 1e9) ~ Days + (Days | Subject)", "sleepstudy"),
}


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "residual", "normal"])
@pytest.mark.parametrize("name", FITS)
def test_every_line_keeps_to_the_page(name: str, ddf: str) -> None:
    r = fit(*FITS[name], ddf=ddf)
    summary = r.summary()
    lines = str(summary).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert {len(line) for line in lines if set(line) in ({"="}, {"-"})} == {WIDTH}
    assert len(summary.tables) == 3
    model, effects, variances = map(str, summary.tables)
    assert "Dep. Variable:" in model
    assert "variance    std dev" in variances
    if len(r.params):
        words = effects.splitlines()[1].split()
        statistic = ["z", "P>|z|"] if ddf == "normal" else ["df", "t", "P>|t|"]
        assert words == ["coef", "std", "err", *statistic, "[0.025", "0.975]"]
        assert effects.count("\n") == len(r.params) + 3
    positions = [str(summary).index(text) for text in ("Dep. Variable", effects[80:], variances)]
    assert positions == sorted(positions)
    for text in (summary.as_text(), summary.as_html(), summary.as_latex(), summary.as_csv()):
        assert "Residual" in text
        assert "Linear Mixed Model Regression Results" in text
    assert "<table" in summary.as_html()
    assert "Results: Linear Mixed Model" in str(r.summary2())


@pytest.mark.parametrize(
    ("reml", "expected"),
    [
        (True, "Dep. Variable: Reaction REML criterion: 1743.628 Model: MixedLM Log-Likelihood: "
         "-871.81 Method: REML AIC: 1755.6 "),
        (False, "Dep. Variable: Reaction -2 Log-Likelihood: 1751.939 Model: MixedLM "
         "Log-Likelihood: -875.97 Method: ML AIC: 1763.9 "),
    ],
)  # fmt: skip
def test_the_model(reml: bool, expected: str) -> None:
    text = squeezed(fit(reml=reml).summary())
    assert expected in text
    assert "No. Observations: 180 No. Groups: 18 Df Residuals: 178 Converged: Yes" in text


def test_the_fixed_effects_and_the_variances() -> None:
    _, effects, variances = map(squeezed, fit().summary().tables)
    assert "Intercept 251.4051 6.825 17.0 36.838 0.000 237.007 265.804" in effects
    assert "Days 10.4673 1.546 17.0 6.771 0.000 7.206 13.729" in effects
    pattern = r"Subject Intercept 612\.\d{4} 24\.74\d Days 35\.07\d\d 5\.922 0\.066 Residual 654\."
    assert re.search(pattern, variances)
    assert "*" not in variances


def test_kenward_roger_shows_its_own_errors_and_degrees() -> None:
    machines = "score ~ Machine + (1 | Worker / Machine)"
    r = fit(machines, "machines", ddf="kenward-roger")
    shown = squeezed(r.summary())
    assert f"{r.bse.iloc[0]:.3f} {r.df_resid_inference[0]:.1f} {r.tvalues.iloc[0]:.3f}" in shown
    assert "Standard errors and degrees of freedom by Kenward and Roger's method." in shown


@pytest.mark.parametrize(
    ("alpha", "low", "high"), [(0.1, "[0.05", "0.95]"), (0.5, "[0.25", "0.75]")]
)
def test_alpha(alpha: float, low: str, high: str) -> None:
    r = fit()
    header, _, first = str(r.summary(alpha=alpha).tables[1]).splitlines()[1:4]
    assert header.split()[-2:] == [low, high]
    assert first.split()[-2:] == [f"{limit:.3f}" for limit in r.conf_int(alpha).iloc[0]]
    assert f"{low}   " in str(r.summary2(alpha=alpha))


def test_other_names() -> None:
    r = fit()
    summary = r.summary(yname="ms", xname=["a", "b"], title="Heading")
    lines = str(summary).splitlines()
    assert lines[0].strip() == "Heading"
    assert "Dep. Variable: ms " in squeezed(summary)
    assert [line.split()[0] for line in str(summary.tables[1]).splitlines()[3:5]] == ["a", "b"]
    with pytest.raises(ValueError, match="xname has 1 names for 2 fixed effects"):
        r.summary(xname=["a"])
    second = str(r.summary2(yname="ms", xname=["a", "b"], title="Heading"))
    assert "Heading" in second
    assert "Dependent Variable: ms" in second


def test_correlations() -> None:
    formula = "Reaction ~ Days + (bs(Days, df=3) | Subject)"
    r = fit(formula)
    rows = str(r.summary().tables[2]).splitlines()
    corr = r.varcorr().filter(like="corr_").to_numpy()
    for i in range(4):
        assert rows[3 + i].split()[-i or len(rows[3].split()) :] == [
            f"{c:.3f}" for c in corr[i, :i]
        ]
    diagonal = fit(formula.replace("|", "||")).summary().tables[2]
    assert "corr" not in str(diagonal)


def test_long_names() -> None:
    long, group = "deprivation_" * 5, "subject_" * 6
    data = load().rename(columns={"Days": long, "Subject": group})
    summary = fit(f"Reaction ~ {long} + ({long} | {group})", data).summary()
    text = str(summary)
    assert f"\n{long} " in text
    assert f"\n{group} " in text
    for table in summary.tables[1:]:
        assert len({len(line) for line in str(table).splitlines()}) == 1
    assert "Degrees of freedom by" in text


def test_p_value_of_zero_and_extreme_numbers() -> None:
    x = np.arange(60.0)
    noise = np.random.default_rng(1).normal(size=60)
    data = pd.DataFrame({"y": 1e8 * x + noise, "x": x, "g": np.arange(60) % 6})
    r = fit("y ~ x + (1 | g)", data, ddf="normal")
    assert r.pvalues["x"] == 0
    row = str(r.summary().tables[1]).splitlines()[4]
    assert row.split() == [
        "x",
        "1e+08",
        f"{r.bse['x']:.3f}",
        *row.split()[3:4],
        "0.000",
        "1e+08",
        "1e+08",
    ]
    assert len(row) <= WIDTH


@pytest.mark.parametrize(
    ("formula", "change", "arguments", "note"),
    [
        (OATS, None, {}, "The covariance of the random effects of Block is singular: some variance "
         "is estimated as zero, or some correlation as one."),
        ("Yield ~ 1 + (1 | Batch)", None, {}, "random effects of Batch is singular:"),
        ("Reaction ~ Days + twice + (1 | Subject)", "twice", {}, "estimable and dropped: twice."),
        (SLEEPSTUDY, "missing", {}, "Rows with missing values left out: 3."),
        (SLEEPSTUDY, "weights", {"weights": "w"}, "Rows with zero weight left out: 7."),
        (SLEEPSTUDY, None, {"sigma": 30.0}, "The residual standard deviation was fixed at 30."),
        (SLEEPSTUDY, "unbalanced", {"maxiter": 1}, "Not converged: stopped after 1 evaluation "
         "although"),
        (SLEEPSTUDY, None, {"ddf": "normal"}, "P-values and intervals of the fixed effects use the "
         "normal approximation."),
        (SLEEPSTUDY, None, {"ddf": "residual"}, "Degrees of freedom: observations less fixed "
         "effects."),
        (SLEEPSTUDY, None, {}, "Groups: Subject (18). Degrees of freedom by Satterthwaite's "
         "method."),
        (OATS, None, {}, "Groups: Block (6), Block:Variety (18)."),
    ],
)  # fmt: skip
def test_notes(formula: str, change: str | None, arguments: dict[str, Any], note: str) -> None:
    name = {"Q": "oats", "Y": "dyestuff2"}.get(formula[0], "sleepstudy")
    data = load(name).copy()
    if change == "missing":
        data.loc[10:12, "Reaction"] = np.nan
    elif change == "unbalanced":
        data = data[7:]
    elif change == "weights":
        data["w"] = np.where(np.arange(180) < 7, 0.0, 1.0)
    elif change == "twice":
        data["twice"] = 2 * data["Days"]
    r = fit(formula, data, **arguments)
    notes = str(r.summary()).split("\n\n", 1)[1]
    assert note in squeezed(notes)
    assert note in squeezed(r.summary2())
    assert ".." not in notes
    assert max(map(len, notes.splitlines())) <= WIDTH
    assert ("Converged: No " in squeezed(r.summary())) == (not r.converged)


def test_known_degrees_of_freedom() -> None:
    """With a fixed σ a balanced design knows the variance of the slope."""
    r = fit("Reaction ~ Days + (1 | Subject)", sigma=30.0)
    assert np.isinf(r.df_resid_inference[1])
    assert re.search(r"\nDays .* inf ", str(r.summary()))
    unbalanced = fit("Reaction ~ Days + (1 | Subject)", load().iloc[7:], sigma=30.0)
    assert unbalanced.df_resid_inference[1] > 1e5
    assert re.search(r"\nDays .* \de\+0\d |\nDays .* \d\.\de\+0\d ", str(unbalanced.summary()))


def test_beside_least_squares() -> None:
    ols = statsmodels_smf.ols("Reaction ~ Days", load()).fit()
    both = summary_col([ols, fit()], info_dict={"N": lambda r: f"{r.nobs:.0f}"})
    for text in ("Intercept 251.4051 251.4051", "(6.6102) (6.8246)", "N 180 180"):
        assert text in squeezed(both)


def test_rows_left_out_are_counted_wherever_the_fit_goes() -> None:
    data = datasets.sleepstudy.load_pandas().data
    data.loc[[3, 9], "Days"] = np.nan
    data["w"] = np.r_[0.0, np.ones(179)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DesignWarning)  # of the weight that is zero
        result = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data, weights="w").fit()
    fits = [
        result,
        result.with_ddf("normal"),
        result.update(". ~ . - Days"),
        result.refit(result.model.endog),
    ]
    result.remove_data()
    for fit in fits:
        for summary in (fit.summary(), fit.summary2()):
            assert "Rows with missing values left out: 2." in str(summary)
            assert "Rows with zero weight left out: 1." in str(summary)
