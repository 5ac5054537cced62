"""What is printed and what a notebook shows: no addresses, nothing cut to "..."."""

from __future__ import annotations

import pickle
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from mixedlm_ext import MixedGLM, MixedLM, RandomTerm, datasets
from mixedlm_ext.diagnostics.check import Check, Finding
from mixedlm_ext.display import page
from mixedlm_ext.tables import Table

FORMULA = "Reaction ~ Days + (Days | Subject)"
SLEEPSTUDY = datasets.sleepstudy.load_pandas().data


@lru_cache
def fit(formula: str = FORMULA, name: str = "sleepstudy", **arguments: Any) -> Any:
    return MixedLM.from_formula(formula, getattr(datasets, name).load_pandas().data).fit(
        **arguments
    )


def cake() -> Any:
    return fit("angle ~ recipe * temp + (1 | replicate) + (1 | recipe:replicate)", "cake")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """pandas as it prints into a terminal of 80 columns, where it leaves columns out."""
    monkeypatch.setenv("COLUMNS", "80")
    with pd.option_context("display.max_columns", 0):
        yield


def test_repr_of_results_and_models() -> None:
    text = f"{FORMULA}, 180 observations, 18 levels of Subject"
    assert repr(fit()) == f"<MixedLMResults: {text}, REML criterion 1743.63>"
    assert repr(fit()._results) == repr(fit())
    assert repr(fit(reml=False)) == f"<MixedLMResults: {text}, -2 log-likelihood 1751.94>"
    assert repr(fit().model) == f"<MixedLM: {text}>"
    gone = MixedLM.from_formula(FORMULA, datasets.sleepstudy.load_pandas().data).fit()
    gone.remove_data()
    assert repr(gone) == repr(fit())
    data = datasets.sleepstudy.load_pandas().data
    X = np.column_stack([np.ones(180), data["Days"]])
    arrays = MixedLM(data["Reaction"].to_numpy(), X, [RandomTerm(data["Subject"], X)])
    assert repr(arrays).startswith("<MixedLM: y ~ const + x1 + (")
    assert "180 observations, 18 levels of" in repr(arrays)


def test_repr_of_records_is_a_line() -> None:
    data = datasets.cbpp.load_pandas().data
    formula = "incidence / size ~ period + (1 | herd)"
    family = sm.families.Binomial()
    generalized = MixedGLM.from_formula(formula, data, family, weights="size").fit()
    linear, design = fit(), f"<Design: {FORMULA}, 180 rows>"
    assert repr(linear.model.design) == design
    assert repr(linear.model.assembled) == f"<Assembled: {design}>"
    assert repr(linear.fit_record) == f"<Fit of {design}, objective 1743.63>"
    assert repr(linear.fitted) == f"<Fitted: {linear.fit_record!r}, tests by satterthwaite>"
    assert repr(linear.model.random_terms[0]) == "<TermDesign: (Days | Subject), 18 levels>"
    assert repr(linear.model.random[0]) == "<RandomTerm: us(Intercept, Days | Subject)>"
    assert repr(generalized.fit_record).startswith(f"<GeneralizedFit of <Design: {formula}, 56")
    assert repr(generalized.fitted).endswith("tests by normal>")
    assert repr(RandomTerm(["a", "b"])) == "<RandomTerm: us(1 | ...)>"
    named = RandomTerm(["a", "b"], np.eye(2), columns=pd.Index(["x", 2]))
    assert repr(named) == "<RandomTerm: us(x, 2 | ...)>"
    arrays = MixedLM(np.arange(6.0), np.ones((6, 1)), [RandomTerm(list("aabbcc"), name="g")])
    assert repr(arrays.design) == "<Design: y ~ const + (1 | g), 6 rows>"


def test_dir_lists_what_works() -> None:
    names = [name for name in dir(fit()) if not name.startswith("_")]
    for name in names:
        getattr(fit(), name)  # no error
    assert {"params", "summary", "anova", "varcorr"} <= set(names)
    assert "covjac" not in names


TABLES = {
    "compare": lambda: fit("Reaction ~ Days + (1 | Subject)").compare(fit()),
    "anova": lambda: cake().anova(),
    "ranova": lambda: fit().ranova(),
    "drop1": lambda: cake().drop1(test="LRT"),
    "tidy": lambda: fit().tidy(conf_int=True),
    "glance": lambda: fit().glance(),
    "all_fit": lambda: fit().all_fit(["newton", "lbfgs"]),
    "contrasts": lambda: cake().emmeans("recipe").contrasts(),
    "prediction": lambda: fit().get_prediction().summary_frame().head(),
    "profile": lambda: fit("Reaction ~ Days + (1 | Subject)").profile().to_frame().head(),
    "influence": lambda: cake().influence("replicate").summary_frame(),
    "varcorr": lambda: fit().varcorr(),
    "random_effects": lambda: fit("Reaction ~ Days + (1 | Subject)").random_effects["Subject"],
    "rounded": lambda: fit().ranova().round(1),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_printed_whole(name: str, terminal: None) -> None:
    table = TABLES[name]()
    printed = repr(table)
    assert "..." not in printed
    assert max(map(len, printed.split("\n"))) <= 80
    for column in table.columns:
        assert str(column) in printed
    assert "..." not in table._repr_html_()


@pytest.mark.parametrize("name", ["step", "emmeans", "emtrends", "bootstrap test"])
def test_results_with_tables_are_printed_whole(name: str, terminal: None) -> None:
    shown = {
        "step": lambda: cake().step(),
        "emmeans": lambda: cake().emmeans("recipe"),
        "emtrends": lambda: cake().emtrends("recipe", "temp"),
        "bootstrap test": lambda: fit("Reaction ~ Days + (1 | Subject)").compare_bootstrap(
            fit(), 3, rng=1
        ),
    }[name]()
    assert "..." not in repr(shown)
    assert max(map(len, repr(shown).split("\n"))) <= 80
    assert "<table" in shown._repr_html_()


def test_table_is_a_frame_like_any_other() -> None:
    table = Table({"a": [1.0, 2.0], "b": ["x", "y"]}, index=["r", "s"])
    pd.testing.assert_frame_equal(pd.DataFrame(table), pd.DataFrame(dict(table.items())))
    for same in (table.round(1), table.loc[["r"]], table.T, pickle.loads(pickle.dumps(table))):
        assert isinstance(same, Table)
    assert isinstance(table["a"], pd.Series)
    assert repr(table) == repr(pd.DataFrame(table))
    long = Table({"a": np.arange(1000)})
    assert repr(long) == repr(pd.DataFrame(long))  # rows are left out as ever
    text = "a sentence that is longer than the fifty letters that pandas shows of a cell"
    assert text in Table({"a": [text]})._repr_html_()
    with pd.option_context("display.notebook_repr_html", False):
        assert table._repr_html_() is None
    many = Table(np.zeros((1, 500)))
    assert "..." in repr(many)


def test_page_escapes() -> None:
    html = page("y ~ (1 | g) <b>", [Table({"a": [1]})], ["x < 2", ""])
    assert "<p><b>y ~ (1 | g) &lt;b&gt;</b></p>" in html
    assert html.count("<p>") == 2
    assert "<td>1</td>" in html


def test_results_in_a_notebook() -> None:
    html = fit()._repr_html_()
    assert html.count("<table") == 3
    assert "Groups: Subject (18)." in html
    assert "Days | Subject" in fit().model._repr_html_()
    assert "<td>Intercept, Days</td>" in fit().model._repr_html_()


MODELS = {
    "linear": lambda: fit().model,
    "generalized": lambda: generalized(),
    "generalized fit": lambda: generalized().fit(),
    "residual structure": lambda: MixedLM.from_formula(
        "Reaction ~ Days", SLEEPSTUDY, correlation="ar1(Days | Subject)"
    ),
    "batches": lambda: MixedLM.from_formula(FORMULA, lambda: iter([SLEEPSTUDY])),
    "many": lambda: fit().model.fit_many(SLEEPSTUDY[["Reaction"]]),
    "many generalized": lambda: generalized().fit_many(generalized().endog[:, None]),
}


def generalized() -> MixedGLM:
    cbpp = datasets.cbpp.load_pandas().data
    formula = "incidence / size ~ period + (1 | herd)"
    return MixedGLM.from_formula(formula, cbpp, sm.families.Binomial(), weights="size")


@pytest.mark.parametrize("name", MODELS)
def test_models_of_every_kind_in_a_notebook(name: str) -> None:
    shown = MODELS[name]()
    html, line = shown._repr_html_(), repr(shown)
    assert line.startswith("<") and " at 0x" not in line
    assert "<b>" in html or "Generalized Linear Mixed Model" in html
    if name == "residual structure":
        assert "residuals ar1(Days | Subject)" in line
        assert "residuals ar1(Days | Subject)" in html and "<table" not in html
        assert "residuals ar1(Days | Subject)" in repr(shown.fit())
    else:
        assert "<table" in html


def test_log_of_the_optimization() -> None:
    log = fit().optimization
    assert repr(log).startswith("<Optimization by newton: converged after ")
    assert "criterion 1743.628272; the last Newton step" in repr(log)
    table = log.to_frame()
    assert list(table.columns) == ["objective", "theta[0]", "theta[1]", "theta[2]"]
    assert len(table) == len(log.objective)
    np.testing.assert_allclose(table.iloc[-1, 1:], fit().theta)
    assert "theta[2]" in log._repr_html_()


def test_profile_in_a_notebook() -> None:
    profile = fit("Reaction ~ Days + (1 | Subject)").profile()
    html = profile._repr_html_()
    assert "[0.025" in html and "0.975]" in html
    assert f"{profile.conf_int().loc['sigma', 0]:.6f}" in html
    assert f"{profile.params['sigma']:.6f}" in html
    short = fit("Reaction ~ Days + (1 | Subject)").profile(["sigma"], alpha_max=0.2)
    assert "[0.1" in short._repr_html_()


def test_other_results_in_a_notebook() -> None:
    result = fit("Reaction ~ Days + (1 | Subject)")
    shown = [
        result.bootstrap(3, rng=1),
        result.get_prediction(),
        result.influence("Subject"),
        fit().re_pca()["Subject"],
    ]
    for one in shown:
        assert "<table" in one._repr_html_()


def test_check_in_a_notebook() -> None:
    found = Check([Finding("rows", "1 < 2 & so on."), Finding("levels", "x")], "Ask influence().")
    shown = found._repr_html_()
    assert "<li>1 &lt; 2 &amp; so on.</li>\n<li>x</li>" in shown
    assert shown.count("<ol>") == shown.count("</ol>") == 1
    assert shown.endswith("<p>Ask influence().</p>")
    nothing = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin").check()._repr_html_()
    assert nothing.endswith("<p>Nothing stands out.</p>")
    assert "<ol>" not in nothing


def test_summary_col_has_the_random_effects() -> None:
    summary_col = pytest.importorskip("statsmodels.iolib.summary2").summary_col
    results = [fit(), fit("Reaction ~ Days + (1 | Subject)")]
    table = summary_col(results, model_names=["slopes", "intercepts"], include_r2=False).tables[0]
    rows = {
        "Days": ["10.4673", "10.4673"],
        "sd Subject Intercept": ["24.7405", "37.1238"],
        "sd Subject Days": ["5.9221", ""],
        "corr Subject Intercept, Days": ["0.0656", ""],
        "sd Residual": ["25.5918", "30.9912"],
        "N": ["180", "180"],
        "N Subject": ["18", "18"],
        "REML criterion": ["1743.6", "1786.5"],
    }
    for label, values in rows.items():
        assert list(table.loc[label]) == values, label
    own = summary_col(results, info_dict={"mine": lambda r: f"{r.sigma:.1f}"}).tables[0]
    assert list(own.loc["mine"]) == ["25.6", "31.0"]
    assert "sd Residual" not in own.index


def test_summary_col_of_a_generalized_fit() -> None:
    summary_col = pytest.importorskip("statsmodels.iolib.summary2").summary_col
    table = summary_col([generalized().fit()], include_r2=False).tables[0]
    rows = {"sd herd Intercept": "0.6423", "N": "56", "N herd": "15", "AIC": "194.1"}
    for label, value in rows.items():
        assert list(table.loc[label]) == [value], label


def test_summary_col_of_a_structure() -> None:
    formula = "score ~ Machine + cs(0 + Machine | Worker)"
    rows = {k: f(None) for k, f in fit(formula, "machines").default_model_infos.items()}
    assert rows["corr Worker cs rho"] == "0.7357"
    assert rows["sd Worker Machine[B]"] == "8.4197"
    assert list(rows)[-3:] == ["N", "N Worker", "REML criterion"]
    by_ml = fit(reml=False).default_model_infos
    assert by_ml["AIC"](None) == "1763.9"
