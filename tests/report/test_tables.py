"""One vocabulary of columns in all frames, and the names of other packages as aliases."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from places import ROOT

import mixedlm_ext
from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.tables import OTHER_NAMES, Row, Table

GLOSSARY = ROOT / "GLOSSARY.rst"


@pytest.fixture
def table() -> Table:
    return Table(
        {"chisq": [np.nan, 4.5], "df": [np.nan, 1.0], "pvalue": [np.nan, 0.03]}, index=["a", "b"]
    )


def test_columns_answer_to_other_names(table: Table) -> None:
    for name in ("pvalue", "Pr(>Chisq)", "p_value", "p.value"):
        assert table[name].iloc[1] == 0.03
        assert table.loc["b", name] == 0.03
        assert table.at["b", name] == 0.03
        assert table.loc["b"][name] == 0.03
        assert table.iloc[1][name] == 0.03
        assert table.iloc[1].get(name) == 0.03
    assert list(table[["LRT", "Df"]].columns) == ["chisq", "df"]
    assert table.loc[:, ["Chisq", "Pr(>F)"]].shape == (2, 2)
    assert table[table["Pr(>F)"] < 0.05].index.tolist() == ["b"]


def test_unknown_names_are_errors(table: Table) -> None:
    with pytest.raises(KeyError, match="nonsense"):
        _ = table["nonsense"]
    with pytest.raises(KeyError, match="conf_low"):
        _ = table["conf_low"]
    with pytest.raises(KeyError, match="conf_low"):
        _ = table.iloc[1]["conf_low"]


def test_a_column_of_that_name_comes_first(table: Table) -> None:
    table["LRT"] = [1.0, 2.0]
    assert table["LRT"].tolist() == [1.0, 2.0]
    assert table["chisq"].iloc[1] == 4.5


def test_cells_can_be_set(table: Table) -> None:
    table.loc["a", "Pr(>Chisq)"] = 1.0
    assert table["pvalue"].tolist() == [1.0, 0.03]
    assert list(table) == ["chisq", "df", "pvalue"]


def test_it_stays_a_frame(table: Table) -> None:
    assert isinstance(table, pd.DataFrame)
    for made in (
        table.copy(), copy.deepcopy(table), pickle.loads(pickle.dumps(table)), table.round(2),
        pd.concat([table, table]), table.sort_values("pvalue"), table.rename(index={"a": "c"}),
    ):  # fmt: skip
        assert made["p_value"].notna().any()
    assert type(table["df"]) is pd.Series
    assert table["df"].name == "df"
    assert isinstance(table.iloc[0], Row)
    assert isinstance(table.iloc[0].to_frame().T, Table)
    assert str(table) == str(pd.DataFrame(table))
    pd.testing.assert_frame_equal(table, pd.DataFrame(table))
    assert table.loc["a":"b"].shape == (2, 3)  # type: ignore[misc]


def test_rows_of_several_levels(table: Table) -> None:
    index = pd.MultiIndex.from_tuples([("x", "LRT"), ("x", "Df")])
    stacked = table.set_axis(index)
    assert stacked.loc[("x", "LRT"), "pvalue"] is not None
    assert stacked.loc[("x", "Df")]["chisq"] == 4.5


@pytest.fixture(scope="module")
def frames() -> dict[str, Any]:
    """A frame of every kind that results make."""
    data = datasets.cake.load_pandas().data
    formula = "angle ~ recipe + temp + (1 | recipe:replicate)"
    result = MixedLM.from_formula(formula, data).fit()
    smaller = MixedLM.from_formula(formula.replace("recipe + ", ""), data).fit()
    means = result.emmeans("recipe")
    boot = result.bootstrap(20, rng=1)
    return {
        "anova": result.anova(),
        "drop1": result.drop1(),
        "drop1 LRT": result.drop1(test="LRT"),
        "ranova": result.ranova(),
        "compare": mixedlm_ext.anova(result, smaller),
        "tidy": result.tidy(["fixed", "ran_pars", "ran_vals"], conf_int=True),
        "contrasts": means.contrasts(),
        "icc": result.icc(),
        "r2": result.r2(),
        "bootstrap": boot.summary_frame(),
        "comparison": smaller.compare_bootstrap(result, 3, rng=1).summary_frame(),
    }


def test_every_frame_uses_the_vocabulary(frames: dict[str, Any]) -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    part = text[text.index("Columns of frames") : text.index("Words\n-----")]
    first = re.findall(r"^([a-zA-Z_12]+(?:, \w+)*,?)(?:   |$)", part, re.M)
    words = {word for line in first for word in line.replace(",", " ").split()}
    words |= {"effect", "bias"}
    for name, frame in frames.items():
        assert set(frame.columns) <= words, name
        assert not set(frame.columns) & set(OTHER_NAMES), name
        assert isinstance(frame, Table), name


def test_old_names_go_on(frames: dict[str, Any]) -> None:
    assert frames["anova"].loc["temp", "PR(>F)"] < 1e-9
    assert frames["ranova"]["Pr(>Chisq)"].iloc[1] < 1e-9
    assert frames["compare"].iloc[1]["Chisq"] == frames["compare"]["chisq"].iloc[1]
    assert frames["tidy"]["std_error"].iloc[0] == frames["tidy"]["se"].iloc[0]
    assert frames["bootstrap"]["bse"].iloc[0] == frames["bootstrap"]["se"].iloc[0]


def test_the_glossary_lists_the_aliases() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    for other in OTHER_NAMES:
        assert other in text
