"""What needs rows makes another pass over their source, or says where they are."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batched
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, MixedLMResults
from mixedlm_ext.design.elsewhere import Elsewhere
from mixedlm_ext.errors import DataError, DesignError, RowsRemovedError
from mixedlm_ext.sources import Source

FORMULA = "y ~ x + z + f + (1 | g)"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return batched.frame(missing=True)


@pytest.fixture(scope="module", params=["drop", "exclude"])
def fits(request: Any, data: pd.DataFrame) -> tuple[MixedLMResults, MixedLMResults]:
    """The fit of batches, and that of the rows in memory."""
    given = {"weights": "w", "offset": "o", "missing": request.param}
    return tuple(  # type: ignore[return-value]
        MixedLM.from_formula(FORMULA, rows, **given).fit() for rows in (batched.cut(data, 31), data)
    )


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "few", 1)


def assert_series(found: Any, expected: Any) -> None:
    pd.testing.assert_series_equal(
        found, expected, check_names=False, check_index_type=False, rtol=1e-7, atol=1e-7
    )


def test_values_of_rows(fits: tuple[MixedLMResults, MixedLMResults]) -> None:
    found, expected = fits
    assert_series(found.fittedvalues, expected.fittedvalues)
    assert_series(found.resid, expected.resid)
    assert_series(found.predict(), expected.predict())
    assert_series(found.predict(which="population"), expected.predict(which="population"))


@pytest.mark.parametrize("kind", ["response", "pearson", "scaled", "marginal"])
def test_residuals(fits: tuple[MixedLMResults, MixedLMResults], kind: str) -> None:
    found, expected = fits
    assert_series(found.residuals(kind), expected.residuals(kind))


def test_what_needs_no_rows(fits: tuple[MixedLMResults, MixedLMResults]) -> None:
    found, expected = fits
    for table in ("anova", "varcorr", "tidy", "glance"):
        one, two = (getattr(result, table)() for result in fits)
        pd.testing.assert_frame_equal(one, two, rtol=1e-5, atol=1e-8)
    assert_allclose(found.t_test("x = z").pvalue, expected.t_test("x = z").pvalue, rtol=1e-5)
    assert_allclose(found.deviance, expected.deviance)
    kenward = [result.with_ddf("kenward-roger").bse for result in fits]
    assert_allclose(*kenward, rtol=2e-4)  # as near as with the rows in another order: x is far off
    ml = [result.refit_ml() for result in fits]
    assert_allclose(ml[0].objective, ml[1].objective)


def test_what_is_computed_from_rows_that_are_read_for_it(data: pd.DataFrame) -> None:
    found, expected = (
        MixedLM.from_formula("y ~ x + f + (1 | g)", rows, weights="w").fit()
        for rows in (batched.cut(data, 31), data)
    )
    means = [r.emmeans("f").summary_frame() for r in (found, expected)]
    pd.testing.assert_frame_equal(*means, rtol=1e-6)
    assert_allclose(found.leverage(), expected.leverage(), rtol=1e-7)
    assert_allclose(found.robust_cov(), expected.robust_cov(), rtol=1e-5)
    draws = [r.bootstrap(5, rng=1).replicates for r in (found, expected)]
    pd.testing.assert_frame_equal(*draws, rtol=1e-4, atol=1e-6)
    smaller = [r.update("y ~ x + (1 | g)") for r in (found, expected)]
    assert_allclose(smaller[0].objective, smaller[1].objective)
    tables = [r.compare(s) for r, s in zip((found, expected), smaller)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)
    pd.testing.assert_frame_equal(found.compare(found.update("y ~ f + (1 | g)")),
                                  expected.compare(expected.update("y ~ f + (1 | g)")),
                                  rtol=1e-6)  # fmt: skip
    plots = pytest.importorskip("mixedlm_ext.plots")
    pytest.importorskip("matplotlib").use("agg")
    for draw in (plots.residuals, plots.scale_location, plots.dotplot, plots.shrinkage):
        assert draw(found).axes


def test_a_profile_needs_no_rows(data: pd.DataFrame) -> None:
    formula = "y ~ x + (1 | g)"
    one, two = (
        MixedLM.from_formula(formula, rows).fit(reml=False).profile().conf_int()
        for rows in (batched.cut(data, 31), data)
    )
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)


def test_new_rows(fits: tuple[MixedLMResults, MixedLMResults], data: pd.DataFrame) -> None:
    found, expected = fits
    assert_series(found.predict(data), expected.predict(data))
    parts = expected.predict(batched.cut(data, 50))
    assert isinstance(parts, Iterator)
    assert_series(pd.concat(list(parts)), expected.predict(data))
    frame = expected.get_prediction(data.iloc[:5]).summary_frame()
    pd.testing.assert_frame_equal(
        found.get_prediction(data.iloc[:5]).summary_frame(), frame, rtol=1e-5
    )


def test_predictions_are_written_whole_or_not_at_all(
    fits: tuple[MixedLMResults, MixedLMResults], data: pd.DataFrame, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    result = fits[0]
    out = tmp_path / "p.parquet"
    assert result.predict(batched.cut(data, 50), out=out) is None
    written = pd.read_parquet(out)["prediction"]
    assert_series(written, fits[1].predict(data).reset_index(drop=True))
    before = out.read_bytes()

    def broken() -> Iterator[pd.DataFrame]:
        yield data.iloc[:50]
        yield data.iloc[50:60].drop(columns="x")

    with pytest.raises(DesignError, match="'x'"):
        result.predict(broken, out=out)
    assert out.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["p.parquet"]
    with pytest.raises(DataError, match=r"would be a Parquet file\. Give it that ending"):
        result.predict(batched.cut(data, 50), out=tmp_path / "p.csv")
    with pytest.raises(DataError, match=r"folder that does not exist"):
        result.predict(batched.cut(data, 50), out=tmp_path / "nowhere" / "p.parquet")
    with pytest.raises(DesignError, match="out= belongs to rows in batches"):
        result.predict(data, out=out)


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.residuals("studentized"),
        lambda r: r.leverage(),
        lambda r: r.influence(groups="g"),
        lambda r: r.bootstrap(2),
        lambda r: r.simulate(2),
        lambda r: r.check(),
        lambda r: r.augment(),
        lambda r: r.update("y ~ x + (1 | g)"),
        lambda r: r.refit(np.arange(240.0)),
        lambda r: r.get_prediction(),
    ],
)
def test_what_needs_all_rows_reads_them_or_says_where_they_are(
    fits: tuple[MixedLMResults, MixedLMResults], ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are read for the call; the result goes on without them."""
    ask(fits[0])
    assert not len(fits[0].model.design.rows)
    monkeypatch.setattr(Elsewhere.gathered, "__defaults__", (1000.0,))
    with pytest.raises(RowsRemovedError, match="read in batches from what a function returns"):
        ask(fits[0])


def test_a_result_pickles_without_its_source(tmp_path: Path, data: pd.DataFrame) -> None:
    pytest.importorskip("pyarrow")
    data.to_parquet(tmp_path / "a.parquet")
    result = MixedLM.from_formula(FORMULA, tmp_path / "a.parquet").fit()
    again = pickle.loads(pickle.dumps(result))
    assert again.summary().as_text().split("Time")[0] == result.summary().as_text().split("Time")[0]
    assert_series(again.predict(data), result.predict(data))
    with pytest.raises(RowsRemovedError):
        again.resid  # noqa: B018


def test_progress_counts_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: pd.DataFrame
) -> None:
    pytest.importorskip("pyarrow")
    data.to_parquet(tmp_path / "a.parquet")
    MixedLM.from_formula("y ~ x + (1 | g)", tmp_path / "a.parquet", progress=True)
    shown = capsys.readouterr().err
    assert "learn: 100%" in shown and "sum: 100%" in shown and "240/240" in shown


def test_statsmodels_spelling_of_the_groups(data: pd.DataFrame) -> None:
    with pytest.raises(DesignError, match="Pass the name of a column"):
        MixedLM.from_formula("y ~ x", batched.cut(data, 31), groups=data["g"])


def test_remove_data_forgets_the_source(data: pd.DataFrame) -> None:
    result = MixedLM.from_formula("y ~ x + (1 | g)", batched.cut(data, 31)).fit()
    before = result.summary().as_text().split("Time")[0]
    result.remove_data()
    assert result.summary().as_text().split("Time")[0] == before
