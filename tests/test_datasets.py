"""The shipped data sets: their shapes, types and the facts known about them."""

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from mixedlm_ext import datasets

LAYOUT: dict[str, tuple[int, str, dict[str, int], list[str]]] = {
    # name: rows, response, levels of each factor, numeric covariates
    "cake": (270, "angle", {"replicate": 15, "recipe": 3, "temperature": 6}, ["temp"]),
    "cbpp": (56, "incidence", {"herd": 15, "period": 4}, ["size"]),
    "dyestuff": (30, "Yield", {"Batch": 6}, []),
    "dyestuff2": (30, "Yield", {"Batch": 6}, []),
    "insteval": (73421, "y", {"service": 2, "s": 2972, "d": 1128, "dept": 14}, []),
    "machines": (54, "score", {"Worker": 6, "Machine": 3}, []),
    "oats": (72, "yield", {"Block": 6, "Variety": 3}, ["nitro"]),
    "pastes": (60, "strength", {"batch": 10, "cask": 3, "sample": 30}, []),
    "penicillin": (144, "diameter", {"plate": 24, "sample": 6}, []),
    "sleepstudy": (180, "Reaction", {"Subject": 18}, ["Days"]),
}


@pytest.fixture(params=sorted(LAYOUT))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def module(name: str) -> ModuleType:
    return getattr(datasets, name)


def frame(name: str) -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


def test_all_lists_every_data_set() -> None:
    assert sorted(datasets.__all__) == sorted(LAYOUT)


def test_layout(name: str, module: ModuleType) -> None:
    rows, response, factors, covariates = LAYOUT[name]
    data = module.load_pandas().data
    assert len(data) == rows
    assert set(data.columns) == {response, *factors, *covariates}
    assert {f: data[f].nunique() for f in factors} == factors
    assert not data.isna().any(axis=None)
    for column in [response, *covariates]:
        assert pd.api.types.is_numeric_dtype(data[column])


def test_factors_are_unordered_categories_of_strings(name: str, module: ModuleType) -> None:
    data = module.load_pandas().data
    for factor in LAYOUT[name][2]:
        assert isinstance(data[factor].dtype, pd.CategoricalDtype)
        assert not data[factor].cat.ordered
        assert all(isinstance(level, str) for level in data[factor].cat.categories)


def test_dataset_attributes(name: str, module: ModuleType) -> None:
    response = LAYOUT[name][1]
    dataset = module.load_pandas()
    others = [column for column in dataset.data.columns if column != response]
    assert dataset.names == list(dataset.data.columns)
    assert dataset.endog_name == response
    assert dataset.exog_name == others
    pd.testing.assert_series_equal(dataset.endog, dataset.data[response])
    pd.testing.assert_frame_equal(dataset.exog, dataset.data[others])


def test_load_equals_load_pandas(module: ModuleType) -> None:
    pd.testing.assert_frame_equal(module.load().data, module.load_pandas().data)


def test_each_load_is_a_new_copy(module: ModuleType) -> None:
    first = module.load_pandas().data
    del first[first.columns[0]]
    assert len(module.load_pandas().data.columns) == len(first.columns) + 1


@pytest.mark.parametrize(
    "text", ["COPYRIGHT", "TITLE", "SOURCE", "DESCRSHORT", "DESCRLONG", "NOTE"]
)
def test_descriptions(module: ModuleType, text: str) -> None:
    assert getattr(module, text).strip()


def test_note_names_every_column(module: ModuleType) -> None:
    data = module.load_pandas().data
    for column in data.columns:
        assert f"        {column} " in module.NOTE
    assert f"Number of observations - {len(data)}" in module.NOTE
    assert f"Number of variables - {data.shape[1]}" in module.NOTE


@pytest.mark.parametrize(
    ("name", "factor", "levels"),
    [
        ("cake", "replicate", [str(i) for i in range(1, 16)]),
        ("cake", "temperature", ["175", "185", "195", "205", "215", "225"]),
        ("insteval", "s", [str(i) for i in range(1, 2973)]),
        ("insteval", "service", ["0", "1"]),
        ("machines", "Worker", ["1", "2", "3", "4", "5", "6"]),
        ("oats", "Block", ["I", "II", "III", "IV", "V", "VI"]),
        ("pastes", "batch", list("ABCDEFGHIJ")),
    ],
)
def test_levels_are_in_natural_order(name: str, factor: str, levels: list[str]) -> None:
    assert list(frame(name)[factor].cat.categories) == levels


def test_dyestuff_batch_means() -> None:
    data = frame("dyestuff")
    assert data["Yield"].mean() == 1527.5
    means = data.groupby("Batch", observed=True)["Yield"].mean()
    assert means.to_dict() == dict(zip("ABCDEF", [1505, 1528, 1564, 1498, 1600, 1470], strict=True))


def test_dyestuff2_batches_differ_less_than_chance() -> None:
    data = frame("dyestuff2")
    groups = data.groupby("Batch", observed=True)["Yield"]
    between = 5 * groups.mean().var()
    within = groups.var().mean()
    assert between < within
    np.testing.assert_allclose(data["Yield"].mean(), 5.6656, atol=1e-4)


def test_sleepstudy_has_each_subject_on_each_day() -> None:
    data = frame("sleepstudy")
    counts = pd.crosstab(data["Subject"], data["Days"])
    assert counts.shape == (18, 10)
    assert (counts == 1).all(axis=None)
    assert data["Days"].dtype.kind == "i"
    slope, intercept = np.polyfit(data["Days"], data["Reaction"], 1)
    np.testing.assert_allclose([intercept, slope], [251.405105, 10.467286], rtol=1e-7)


def test_penicillin_is_completely_crossed() -> None:
    data = frame("penicillin")
    assert (pd.crosstab(data["plate"], data["sample"]) == 1).all(axis=None)


def test_pastes_sample_is_batch_and_cask() -> None:
    data = frame("pastes")
    pasted = data["batch"].astype(str) + ":" + data["cask"].astype(str)
    assert (pasted == data["sample"].astype(str)).all()
    assert (data["sample"].value_counts() == 2).all()


def test_cake_temperature_is_temp() -> None:
    data = frame("cake")
    assert (data["temperature"].astype(int) == data["temp"]).all()
    assert (data.groupby(["recipe", "temperature"], observed=True).size() == 15).all()


def test_machines_is_balanced() -> None:
    data = frame("machines")
    assert (pd.crosstab(data["Worker"], data["Machine"]) == 3).all(axis=None)


def test_oats_doses() -> None:
    data = frame("oats")
    assert sorted(data["nitro"].unique()) == [0, 0.2, 0.4, 0.6]
    assert (data.groupby(["Block", "Variety"], observed=True).size() == 4).all()


def test_insteval_ratings() -> None:
    data = frame("insteval")
    assert data["y"].dtype.kind == "i"
    assert sorted(data["y"].unique()) == [1, 2, 3, 4, 5]
    assert "13" not in data["dept"].cat.categories
