"""Files whose columns differ in type: the fit of them together, or a refusal that names them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batched
import numpy as np
import pandas as pd
import pytest
from batched import assert_same, outcome

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import DataError

pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")
ds = pytest.importorskip("pyarrow.dataset")

FORMULA = "y ~ c + (1 | g)"
TYPES = {"c": "int32", "g": "int64", "day": "timestamp[us]"}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    data = batched.frame()[["y", "c", "g", "row"]].astype({"c": int})
    data["c"] = data["row"] % 7
    return data.assign(day=pd.Timestamp("2026-01-01") + pd.to_timedelta(data["row"] % 9, unit="D"))


def table(data: pd.DataFrame, **types: Any) -> Any:
    """Return rows with columns of given types; "text by number" are categories of text."""
    out = pa.Table.from_pandas(data, preserve_index=False)
    for name, kind in {**TYPES, **types}.items():
        i = out.schema.get_field_index(name)
        column = out.column(name)
        if kind == "text by number":
            column = column.cast(pa.string()).dictionary_encode()
        else:
            column = column.cast(kind)
        out = out.set_column(i, name, column)
    return out


def write(path: Path, tables: list[Any], kind: str = "parquet") -> list[str]:
    """Write one file of each table."""
    from pyarrow import feather, parquet

    path.mkdir()
    names = [str(path / f"{i}.{kind}") for i in range(len(tables))]
    for name, own in zip(names, tables):
        (parquet.write_table if kind == "parquet" else feather.write_feather)(own, name)
    return names


def sources(path: Path, names: list[str], kind: str = "parquet") -> dict[str, Any]:
    """Return every way to give the files."""
    out = {"list": names, "data set": ds.dataset(str(path), format=kind)}
    return {**out, "folder": str(path)} if kind == "parquet" else out


@pytest.mark.parametrize(
    ("first", "second", "formula"),
    [
        ({"c": "int8"}, {"c": "double"}, FORMULA),
        ({"c": "double"}, {"c": "uint16"}, FORMULA),
        ({"g": "int8"}, {"g": "int64"}, FORMULA),
        ({"g": "double"}, {"g": "int32"}, FORMULA),
        ({"g": "string"}, {"g": "large_string"}, FORMULA),
        ({"g": "text by number"}, {"g": "text by number"}, FORMULA),
        ({"day": "timestamp[ms]"}, {"day": "timestamp[ns]"}, "y ~ c + (1 | day)"),
        ({"day": pa.timestamp("ms", "UTC")}, {"day": pa.timestamp("us", "UTC")},
         "y ~ c + (1 | day)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_types_that_hold_the_same_values(
    first: dict[str, Any], second: dict[str, Any], formula: str, kind: str, data: pd.DataFrame,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Also where the second file has values that the type of the first does not hold."""
    later = data.iloc[100:].assign(c=lambda d: d["c"] + (0.5 if second.get("c") == "double" else 0))
    later = later.assign(g=lambda d: d["g"] + (1000 if first.get("g") == "int8" else 0))
    tables = [table(data[:100], **first), table(later, **second)]
    names = write(tmp_path / "a", tables, kind)
    expected = outcome(formula, pd.concat([own.to_pandas() for own in tables])).result
    assert expected is not None
    for source in sources(tmp_path / "a", names, kind).values():
        found = outcome(formula, source).result
        assert found is not None
        assert found.objective == pytest.approx(expected.objective, rel=1e-10)
        assert found.n_groups == expected.n_groups
        for name, modes in expected.random_effects.items():
            assert list(found.random_effects[name].index) == list(modes.index)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"c": "int32"}, {"c": "string"}, ("'c' holds text", "it holds numbers")),
        ({"c": "string"}, {"c": "int32"}, ("'c' holds numbers", "it holds text")),
        ({"g": "int64"}, {"g": "string"}, ("'g' holds text", "it holds numbers")),
        ({"g": "string"}, {"g": "double"}, ("'g' holds numbers", "it holds text")),
        ({"c": "bool"}, {"c": "int32"}, ("'c' holds numbers", "it holds truth values")),
        ({"g": "string"}, {"g": "text by number"}, ("'g' holds categories", "it holds text")),
        ({"day": "date32"}, {}, ("'day' holds dates", "it holds days of the calendar")),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_types_that_do_not(
    first: dict[str, Any], second: dict[str, Any], words: tuple[str, str], kind: str,
    data: pd.DataFrame, tmp_path: Path,
) -> None:  # fmt: skip
    """A data set would cast the second file to the types of the first."""
    tables = [table(data.iloc[:100], **first), table(data.iloc[100:], **second)]
    names = write(tmp_path / "a", tables, kind)
    formula = "y ~ c + (1 | g) + (1 | day)"
    for source in sources(tmp_path / "a", names, kind).values():
        with pytest.raises(DataError) as caught:
            MixedLM.from_formula(formula, source)
        message = str(caught.value)
        assert all(word in message for word in words)
        assert f"in batch 1 of '{names[1]}'" in message and f"in batch 1 of '{names[0]}'" in message


def test_types_that_a_data_set_declares(data: pd.DataFrame, tmp_path: Path) -> None:
    """They are not those of its first file, and were chosen."""
    write(tmp_path / "a", [table(data[:100]), table(data[100:], c="double")])
    own = ds.dataset(str(tmp_path / "a"))
    schema = own.schema.set(own.schema.get_field_index("g"), pa.field("g", pa.string()))
    declared = ds.dataset(str(tmp_path / "a"), schema=schema)
    assert_same(outcome(FORMULA, declared), outcome(FORMULA, data.assign(g=data["g"].astype(str))))


def test_a_file_of_a_data_set_without_a_column(data: pd.DataFrame, tmp_path: Path) -> None:
    names = write(tmp_path / "a", [table(data[:100]), table(data[100:]).drop_columns("c")])
    for source in sources(tmp_path / "a", names).values():
        with pytest.raises(DataError, match=r"1\.parquet' has no column 'c', which "):
            MixedLM.from_formula(FORMULA, source)


def test_more_columns_and_another_order(data: pd.DataFrame, tmp_path: Path) -> None:
    tables = [table(data[:100]), table(data[100:]).select(["row", "day", "g", "c", "y"])]
    tables[1] = tables[1].append_column("z", pa.array(np.ones(len(data) - 100)))
    names = write(tmp_path / "a", tables)
    for source in sources(tmp_path / "a", names).values():
        assert_same(outcome(FORMULA, source), outcome(FORMULA, data))


def test_a_cut_off_file_of_a_data_set(data: pd.DataFrame, tmp_path: Path) -> None:
    names = write(tmp_path / "a", [table(data[:100]), table(data[100:])])
    source = ds.dataset(str(tmp_path / "a"))
    os.truncate(names[1], 1000)
    with pytest.raises(DataError, match=r"1\.parquet' cannot be opened .* cut off or damaged"):
        MixedLM.from_formula(FORMULA, source)


def test_large_keys_beside_missing_ones(data: pd.DataFrame, tmp_path: Path) -> None:
    """Floats would take two of them for one."""
    large = data.assign(g=data["g"] + (1 << 53))
    keys = pa.array([None if i % 7 == 0 else g for i, g in enumerate(large["g"].tolist())])
    first = table(large)
    names = write(tmp_path / "a", [first.set_column(2, "g", keys)[:100], first[100:]])
    missing = (np.arange(len(data)) % 7 == 0) & (np.arange(len(data)) < 100)
    expected = outcome(FORMULA, large[~missing])
    for source in sources(tmp_path / "a", names).values():
        found = outcome(FORMULA, source)
        assert found.result is not None and expected.result is not None
        assert found.result.n_groups == expected.result.n_groups
        assert found.result.objective == pytest.approx(expected.result.objective, rel=1e-10)


def test_text_that_is_mixed_within_a_batch(data: pd.DataFrame, tmp_path: Path) -> None:
    """pandas' reader would have numbers and text in one column of a large batch."""
    many = pd.concat([data] * 900, ignore_index=True)
    keys = many["g"].astype(str)
    keys.iloc[-5] = "new"
    many.assign(g=keys).to_csv(tmp_path / "a.csv", index=False)
    found = outcome(FORMULA, tmp_path / "a.csv")
    assert found.result is not None
    assert found.result.n_groups["g"] == data["g"].nunique() + 1


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.bz2", "a.csv.xz", "a.csv.zip"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.8, 0.999])
def test_compressed_text_that_is_cut_off(
    name: str, share: float, data: pd.DataFrame, tmp_path: Path
) -> None:
    data.to_csv(tmp_path / name, index=False)
    os.truncate(tmp_path / name, int(share * (tmp_path / name).stat().st_size))
    with pytest.raises(DataError, match=f"{name}' cannot be (opened|read) .* cut off or damaged"):
        MixedLM.from_formula(FORMULA, tmp_path / name)


def test_what_polars_cannot_make(data: pd.DataFrame, tmp_path: Path) -> None:
    names = write(tmp_path / "a", [table(data[:100]), table(data[100:], c="string")])
    with pytest.raises(DataError, match=r"polars cannot make batch \d of the lazy frame \(Schema"):
        MixedLM.from_formula(FORMULA, pl.scan_parquet(names))
    absent = pl.scan_parquet(names[0]).with_columns(z=pl.col("nope"))
    with pytest.raises(DataError, match=r"polars cannot make the lazy frame .*nope"):
        MixedLM.from_formula(FORMULA, absent)


def test_a_stream_that_breaks(data: pd.DataFrame) -> None:
    whole = table(data)

    def batches() -> Iterator[Any]:
        yield from whole[:100].to_batches()
        raise OSError("the disk is gone")

    reader = pa.RecordBatchReader.from_batches(whole.schema, batches())
    with pytest.raises(DataError, match=r"batch 2 of the stream cannot be read \(OSError"):
        MixedLM.from_formula(FORMULA, reader)


def test_a_function_that_returns_a_frame(data: pd.DataFrame) -> None:
    for made in (data, dict(data.items())):
        with pytest.raises(DataError, match="it must return an iterator of frames"):
            MixedLM.from_formula(FORMULA, lambda made=made: made)
