"""Dask frames: partitions are summed by the workers, of which one may die on the way."""

import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batched
import joblib
import numpy as np
import pandas as pd
import pytest
from batched import assert_same, outcome
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.design.elsewhere import Elsewhere
from mixedlm_ext.errors import DataError, DesignError, FitError, RowsRemovedError

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def here() -> Iterator[None]:
    """Compute in this process."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers, processes of their own, and a client."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as two,
            distributed.Client(two) as client,
        ):
            yield client


@pytest.mark.parametrize(
    "given_",
    [
        {"variance": "f", "weights": "w"},
        {"correlation": "cs(1 | g)"},
        {"correlation": "ar1(row | k)"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("here")
def test_residual_structures_across_partitions(given_: dict[str, Any]) -> None:
    data = batched.frame()
    found = outcome("y ~ x + (1 | i)", dd.from_pandas(data, npartitions=5, sort=False), **given_)
    expected = outcome("y ~ x + (1 | i)", data, **given_)
    assert_same(found, expected, 1e-5 if "ar1" in str(given_) else 1e-8)
    one, two = found.result, expected.result
    assert one is not None and two is not None
    predicted = one.predict(dd.from_pandas(data, npartitions=3, sort=False)).compute()
    assert_allclose(predicted, two.predict(data), rtol=1e-8)
    assert_allclose(one.resid, two.resid, atol=1e-5)


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("sleepstudy", "Reaction ~ Days + (Days | Subject)", {}),
    ("frame", "y ~ x * f + h + C(i) + (z | g) + (1 | k)", {}),
    ("missing", "y ~ x + z + (z | g) + (1 | f / k)", {"weights": "w"}),
    ("frame", "y ~ x + x2 + np.log(z**2) + (1 | g)", {"offset": "o"}),
    ("frame", "y ~ x", {"groups": "g", "vc_formula": {"f": "0 + C(f)"}}),
    ("frame", "y ~ x + (1 | g)", {"weights": "some"}),
    ("missing", "y ~ x + z + (1 | g)", {"missing": "raise"}),
    ("frame", "y ~ x + (one | g)", {}),
    ("frame", "one ~ x + (1 | g)", {}),
]


@pytest.mark.parametrize("case", CASES)
def test_partitions_give_the_fit_of_the_rows_in_memory(
    case: tuple[str, str, dict[str, Any]], here: None
) -> None:
    name, formula, given = case
    data = batched.dataset(name)
    frame = dd.from_pandas(data, npartitions=5)
    assert_same(outcome(formula, frame, **given), outcome(formula, data, **given))


def test_a_partition_none_of_whose_rows_are_used(here: None) -> None:
    data, formula = batched.frame(), "y ~ x + f + (1 | g)"
    frame = dd.from_pandas(data, npartitions=4, sort=False)
    found = outcome(formula, frame, subset=lambda part: part["row"] >= 100)
    assert_same(found, outcome(formula, data, subset=(data["row"] >= 100).to_numpy()))


def counted(shown: str, what: str) -> str:
    """What the bar said last of its tasks."""
    return next(line for line in reversed(re.split("[\r\n]", shown)) if line.startswith(what))


def test_a_bar_counts_tasks(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    frame = dd.from_pandas(batched.frame(), npartitions=5)
    MixedLM.from_formula("y ~ x + f + (1 | g)", frame, progress=True)
    shown = capsys.readouterr().err
    assert "5/5" in counted(shown, "learn") and "9/9" in counted(shown, "sum")


def test_values_of_rows_and_predictions(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    data, formula = batched.frame(), "y ~ x + f + (1 | g)"
    frame = dd.from_pandas(data, npartitions=4)
    found, expected = (MixedLM.from_formula(formula, rows).fit() for rows in (frame, data))
    assert_allclose(found.resid, expected.resid, atol=1e-9)
    for result in (found, expected):
        lazy = result.predict(frame, which="population")
        assert isinstance(lazy, dd.Series) and lazy.npartitions == 4
        assert_allclose(lazy.compute(), expected.predict(data, which="population"), rtol=1e-10)
    assert_allclose(found.leverage(), expected.leverage(), rtol=1e-7)
    monkeypatch.setattr(Elsewhere.gathered, "__defaults__", (10.0,))
    with pytest.raises(RowsRemovedError, match="partitions of a Dask data frame"):
        found.leverage()


@pytest.mark.parametrize(
    ("formula", "given", "words"),
    [
        ("y ~ x + (1 | g)", {"weights": np.ones(240)}, "Make it a column"),
        ("y ~ center(x) + (1 | g)", {}, "depends on the rows of each site"),
        ("y ~ x + (1 | nope)", {}, "'nope'"),
    ],
)
def test_what_is_refused(formula: str, given: dict[str, Any], words: str, here: None) -> None:
    with pytest.raises(DesignError if "center" not in formula else ValueError) as caught:
        MixedLM.from_formula(formula, dd.from_pandas(batched.frame(), npartitions=3), **given)
    assert words in str(caught.value)


def test_insteval_in_sixteen_partitions(here: None) -> None:
    data = datasets.insteval.load_pandas().data.iloc[:20_000]
    formula = "y ~ service + (1 | s) + (1 | d)"
    frame = dd.from_pandas(data, npartitions=16)
    found, expected = (MixedLM.from_formula(formula, rows).fit() for rows in (frame, data))
    assert abs(found.objective - expected.objective) < 1e-10 * abs(expected.objective)
    assert_allclose(found.params, expected.params, rtol=1e-10)


# --- a cluster ------------------------------------------------------------------------------------


def killing(part: pd.DataFrame, folder: str) -> pd.DataFrame:
    """Return a partition; the second time that one is asked for, kill the worker instead."""
    if (part["row"] == 100).any():
        for name in ("first", "second"):
            path = Path(folder) / name
            if not path.exists():
                path.touch()
                if name == "second":
                    os.kill(os.getpid(), signal.SIGKILL)
                break
    return part


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_a_worker_dies_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    """It dies in the pass that sums; its partitions are computed anew."""
    data, formula = batched.frame(), "y ~ x + f + (z | g)"
    pids = set(cluster.run(os.getpid).values())
    frame = dd.from_pandas(data, npartitions=8).map_partitions(
        killing, str(tmp_path), meta=data.iloc[:0]
    )
    found = outcome(formula, frame)
    assert (tmp_path / "second").exists()
    cluster.wait_for_workers(2)
    assert set(cluster.run(os.getpid).values()) != pids
    assert_same(found, outcome(formula, data))


@pytest.mark.slow
def test_a_bar_counts_tasks_of_workers(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    data, formula = batched.frame(), "y ~ x + f + (1 | g)"
    frame = dd.from_pandas(data, npartitions=6).map_partitions(slowly, meta=data.iloc[:0])
    found = MixedLM.from_formula(formula, frame, progress=True).fit()
    shown = capsys.readouterr().err
    assert "6/6" in counted(shown, "learn") and "11/11" in counted(shown, "sum")
    assert re.search("sum: .* [1-9]/11", shown)
    expected = MixedLM.from_formula(formula, data).fit()
    assert_allclose(found.objective, expected.objective, rtol=1e-10)


def slowly(part: pd.DataFrame) -> pd.DataFrame:
    time.sleep(0.3)
    return part


@pytest.mark.slow
def test_whole_insteval_on_two_workers(cluster: Any) -> None:
    data = datasets.insteval.load_pandas().data
    formula = "y ~ service + (1 | s) + (1 | d) + (1 | dept:service)"
    frame = dd.from_pandas(data, npartitions=16)
    assert_same(outcome(formula, frame), outcome(formula, data))


@pytest.mark.slow
def test_joblib_runs_on_the_workers(cluster: Any) -> None:
    """The same numbers as in one process, whoever draws them."""
    model = MixedLM.from_formula(
        "Reaction ~ Days + (Days | Subject)", batched.dataset("sleepstudy")
    )
    result = model.fit()
    Y = result.simulate(6, rng=2)
    hypothesis = {"beta": [250, 5], "theta": [1, 0, 0.2], "sigma": 25, "n": 20, "rng": 3}

    def numbers(n_jobs: int) -> list[Any]:
        tables = [
            result.bootstrap(20, rng=1, n_jobs=n_jobs).replicates,
            model.fit_many(Y, n_jobs=n_jobs).params,
            result.all_fit(["newton", "lbfgs"], n_jobs=n_jobs)["objective"],
        ]
        return [
            *map(np.asarray, tables),
            model.power("Days = 0", n_jobs=n_jobs, **hypothesis).power,
        ]

    expected = numbers(1)
    with joblib.parallel_config(backend="dask"):
        for one, two in zip(numbers(2), expected):
            assert_allclose(one, two, rtol=1e-9)


@pytest.fixture
def short() -> Iterator[Any]:
    """A cluster for one test, which may close it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as two,
            distributed.Client(two),
        ):
            yield two


def ending(part: pd.DataFrame) -> pd.DataFrame:
    os._exit(1)


@pytest.mark.slow
@pytest.mark.parametrize("progress", [False, True])
def test_workers_that_all_die(short: Any, progress: bool) -> None:
    data = batched.frame()
    frame = dd.from_pandas(data, npartitions=4).map_partitions(ending, meta=data.iloc[:0])
    with pytest.raises(DataError, match=r"workers were lost .*KilledWorker.*smaller partitions"):
        MixedLM.from_formula("y ~ x + (1 | g)", frame, progress=progress)


@pytest.mark.slow
def test_a_cluster_that_is_closed(short: Any) -> None:
    """On the way, and before."""
    result = MixedLM.from_formula(
        "Reaction ~ Days + (Days | Subject)", batched.dataset("sleepstudy")
    ).fit()
    with joblib.parallel_config(backend="dask"):
        result.bootstrap(20, rng=1, n_jobs=2)
        threading.Timer(0.5, short.close).start()
        with pytest.raises(FitError, match=r"workers( were lost)? .*n_jobs=1 runs in this"):
            result.bootstrap(200_000, rng=1, n_jobs=2)
        with pytest.raises(FitError, match=r"joblib's backend has no workers .* Start it again"):
            result.bootstrap(20, rng=1, n_jobs=2)
    frame = dd.from_pandas(batched.frame(), npartitions=2)
    with pytest.raises(DataError, match="workers were lost"):
        MixedLM.from_formula("y ~ x + (1 | g)", frame)
