"""What yields rows in batches: each kind of source, and what is wrong with one."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import batched
import numpy as np
import pandas as pd
import pytest
from batched import Outcome, assert_same, outcome

from mixedlm_ext import MixedLM
from mixedlm_ext.batches.fingerprint import fingerprint
from mixedlm_ext.errors import DataError
from mixedlm_ext.sources import Source, is_source, open_source
from mixedlm_ext.sources.kinds import kind_of

pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")

FORMULA = "y ~ x + h + f + (1 | g) + (1 | k)"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return batched.frame()


@pytest.fixture(scope="module")
def expected(data: pd.DataFrame) -> Outcome:
    return outcome(FORMULA, data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: pd.DataFrame) -> Path:
    """Files of all formats, whole and in two parts."""
    import pyarrow.dataset

    path = tmp_path_factory.mktemp("rows")
    data.to_parquet(path / "a.parquet", row_group_size=50)
    data.to_feather(path / "a.feather")
    table = pa.Table.from_pandas(data)
    with pa.ipc.new_stream(path / "stream.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=31)
    for i, part in enumerate((data.iloc[:100], data.iloc[100:])):
        part.to_parquet(path / f"part{i}.parquet")
    plain = data.drop(columns="h")
    for name in ("a.csv", "a.csv.gz"):
        plain.to_csv(path / name, index=False)
    plain.to_csv(path / "a.tsv", index=False, sep="\t")
    partitions = pyarrow.dataset.partitioning(pa.schema([("f", pa.string())]), flavor="hive")
    pyarrow.dataset.write_dataset(table, path / "hive", format="parquet", partitioning=partitions)
    return path


SOURCES: dict[str, Callable[[Path, pd.DataFrame], Any]] = {
    "parquet": lambda path, data: path / "a.parquet",
    "text": lambda path, data: str(path / "a.parquet"),
    "feather": lambda path, data: path / "a.feather",
    "stream": lambda path, data: path / "stream.arrow",
    "list": lambda path, data: [path / "part0.parquet", path / "part1.parquet"],
    "pattern": lambda path, data: str(path / "part*.parquet"),
    "dataset": lambda path, data: __import__("pyarrow.dataset").dataset.dataset(path / "a.parquet"),
    "dataset in memory": lambda path, data: pa.dataset.dataset(pa.Table.from_pandas(data)),
    "reader": lambda path, data: pa.Table.from_pandas(data).to_reader(max_chunksize=31),
    "table": lambda path, data: pa.Table.from_pandas(data),
    "batches of arrow": lambda path, data: lambda: iter(pa.Table.from_pandas(data).to_batches(31)),
    "dicts": lambda path, data: lambda: iter([dict(data.items())]),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_each_kind_of_source_gives_the_same_fit(
    kind: str, folder: Path, data: pd.DataFrame, expected: Outcome
) -> None:
    assert_same(outcome(FORMULA, SOURCES[kind](folder, data)), expected)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv"])
def test_text_gives_the_fit_of_what_pandas_reads(name: str, folder: Path) -> None:
    data = pd.read_csv(folder / "a.csv")
    formula = "y ~ x + f + (1 | g) + (1 | k)"
    assert_same(outcome(formula, folder / name), outcome(formula, data))


@pytest.mark.parametrize("kind", ["lazy", "scan", "slices"])
def test_polars(kind: str, folder: Path) -> None:
    whole = pl.read_parquet(folder / "a.parquet")
    data = {
        "lazy": whole.lazy(),
        "scan": pl.scan_parquet(folder / "a.parquet"),
        "slices": lambda: whole.iter_slices(31),
    }[kind]
    assert_same(outcome(FORMULA, data), outcome(FORMULA, whole))


def test_partitions_of_a_directory(folder: Path, data: pd.DataFrame) -> None:
    """The column that is in the names of the directories is there; the rows are in their order."""
    found, expected = outcome(FORMULA, folder / "hive"), outcome(FORMULA, data)
    assert found.result is not None and expected.result is not None
    assert found.result.params.index.tolist() == expected.result.params.index.tolist()
    assert abs(found.result.objective - expected.result.objective) < 1e-8


def test_a_stream_is_kept_in_a_file_that_goes_with_it(
    data: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    source = open_source(pa.Table.from_pandas(data).to_reader())
    assert len(list(tmp_path.iterdir())) == 1
    assert [len(b.frame) for b in source.batches(["x"])] == [240]
    del source
    assert not list(tmp_path.iterdir())


def test_small_batches_are_put_together(data: pd.DataFrame) -> None:
    source = open_source(batched.cut(data, 7))
    (batch,) = source.batches(["x", "h"])
    assert batch.place == "batch 1 of the data to batch 35 of the data"
    pd.testing.assert_frame_equal(batch.frame, data[["x", "h"]])


def test_rows_that_are_counted_before(folder: Path) -> None:
    assert open_source(folder / "a.parquet").rows == 240
    assert open_source(str(folder / "part*.parquet")).rows == 240
    assert open_source(folder / "a.csv").rows is None


# --- what is wrong with a source ------------------------------------------------------------------


def refusal(data: Any, formula: str = FORMULA) -> str:
    """Return the message of a source that cannot be read."""
    error = outcome(formula, data).error
    assert error is not None and error[0] == "DataError"
    return error[1]


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "stream.arrow", "a.csv.gz"])
def test_a_file_that_is_cut_off(name: str, folder: Path, tmp_path: Path) -> None:
    whole = (folder / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * 0.7)])
    message = refusal(path, "y ~ x + (1 | g)")
    assert name in message and "cut off or damaged" in message


def test_a_damaged_batch_is_named(folder: Path, tmp_path: Path) -> None:
    raw = bytearray((folder / "a.parquet").read_bytes())
    raw[4:1200] = b"x" * 1196
    path = tmp_path / "damaged.parquet"
    path.write_bytes(bytes(raw))
    assert refusal(path).startswith(f"batch 1 of {str(path)!r} cannot be read")


def test_a_column_that_changes_its_type(data: pd.DataFrame, tmp_path: Path) -> None:
    data.to_parquet(tmp_path / "a.parquet")
    data.assign(x=data["x"].astype(str)).to_parquet(tmp_path / "b.parquet")
    message = refusal([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert message.startswith("column 'x' holds text in batch 1 of ") and "b.parquet'" in message
    assert "a.parquet' it holds numbers" in message


def test_numbers_may_be_whole_in_one_file_only(data: pd.DataFrame, tmp_path: Path) -> None:
    parts = data.iloc[:100].astype({"c": int, "g": float}), data.iloc[100:]
    for i, part in enumerate(parts):
        part.to_parquet(tmp_path / f"{i}.parquet")
    formula = "y ~ c + (1 | g)"
    found = outcome(formula, str(tmp_path / "*.parquet"))
    assert_same(found, outcome(formula, pd.concat(parts)))


def test_text_and_categories_are_two_types(data: pd.DataFrame, tmp_path: Path) -> None:
    data.iloc[:100].to_parquet(tmp_path / "0.parquet")
    data.iloc[100:].astype({"f": "category"}).to_parquet(tmp_path / "1.parquet")
    message = refusal(str(tmp_path / "*.parquet"))
    assert "column 'f' holds categories in batch 1 of" in message and "1.parquet" in message


def test_ordered_categories_keep_their_order(data: pd.DataFrame, tmp_path: Path) -> None:
    ordered = pd.CategoricalDtype(["mid", "lo", "hi"], ordered=True)
    data = data.astype({"h": ordered})
    data.to_parquet(tmp_path / "a.parquet", row_group_size=31)
    formula = "y ~ h + x + (1 | h:g) + (1 | k)"
    assert_same(outcome(formula, tmp_path / "a.parquet"), outcome(formula, data))


def test_keys_that_are_numbers_in_one_part_of_a_text_file(
    data: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mixedlm_ext.sources.files._TEXT_ROWS", 100)
    keys = [str(g) if i < 150 else f"n{g}" for i, g in enumerate(data["g"])]
    data.assign(g=keys).to_csv(tmp_path / "a.csv")
    assert "dtype={'g': str}, chunksize=100_000" in refusal(tmp_path / "a.csv", "y ~ x + (1 | g)")
    found = outcome(
        "y ~ x + (1 | g)", lambda: pd.read_csv(tmp_path / "a.csv", dtype={"g": str}, chunksize=100)
    )
    assert_same(found, outcome("y ~ x + (1 | g)", data.assign(g=keys)))


@pytest.mark.parametrize("rows", [0, 1])
def test_next_to_no_rows(rows: int, data: pd.DataFrame) -> None:
    formula = "y ~ x + (1 | g)"
    found = outcome(formula, lambda: iter([data.iloc[:0], data.iloc[:rows]]))
    assert_same(found, outcome(formula, data.iloc[:rows]))


def test_a_file_without_a_column(data: pd.DataFrame, tmp_path: Path) -> None:
    data.to_parquet(tmp_path / "a.parquet")
    data.drop(columns="x").to_parquet(tmp_path / "b.parquet")
    message = refusal([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert "b.parquet' has no column 'x', which " in message


class Changing:
    """A source that yields other rows from the third call on: one call looks at the columns."""

    def __init__(self, first: pd.DataFrame, then: pd.DataFrame) -> None:
        self.frames, self.calls = [first, then], 0

    def __call__(self) -> Iterator[pd.DataFrame]:
        self.calls += 1
        data = self.frames[self.calls > 2]
        return iter([data.iloc[:100], data.iloc[100:]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.iloc[:-1], "240 rows in the first pass and 239 in a later one; the first "
         "change is in batch 2 of the data"),
        (lambda d: d.assign(y=d["y"].where(d["row"] < 100, d["y"] + 1)),
         "column 'y' has other values in a later pass than in the first; the first change is in "
         "batch 2 of the data"),
        (lambda d: d.assign(y=d["y"].where(d["row"] != 150, d["y"] * (1 + 1e-15))),
         "column 'y' has other values"),
        (lambda d: d.assign(y=d["y"].to_numpy()[[1, 0, *range(2, len(d))]]),
         "the values of some columns stand in other rows in a later pass; the first change is in "
         "batch 1 of the data"),
        (lambda d: d.assign(g=d["g"].where(d["row"] < 100, 77)), "batch 2 of the data has the "
         "level 77 of g, which was not there"),
        (lambda d: d.assign(f=d["f"].where(d["row"] < 100, "new")), "batch 2 of the data holds "
         "what was not there when the data were read first"),
    ],
)  # fmt: skip
def test_a_source_that_changes(
    change: Callable[[pd.DataFrame], pd.DataFrame], words: str, data: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Source, "few", 1)
    assert words in refusal(Changing(data, change(data)))


def test_small_batches_together_are_named_from_the_first_to_the_last(data: pd.DataFrame) -> None:
    """A change in the second of two that are put together is not said to be in the first."""
    edited = data.assign(y=data["y"].where(data["row"] != 150, 0.0))
    assert "in batch 1 of the data to batch 2 of the data" in refusal(Changing(data, edited))


def test_pages_that_do_not_agree_with_their_checksum(data: pd.DataFrame, tmp_path: Path) -> None:
    import pyarrow.parquet

    path, names = tmp_path / "a.parquet", ["y", "x", "h", "f", "g", "k"]
    pyarrow.parquet.write_table(
        pa.Table.from_pandas(data[names]), path, compression="none", use_dictionary=False,
        write_page_checksum=True,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    where = content.find(np.float64(data["y"].iloc[3]).tobytes())
    assert where > 0
    content[where] ^= 1
    path.write_bytes(bytes(content))
    assert "batch 1 of " in refusal(path) and "damaged" in refusal(path)


def test_rows_in_another_order_are_the_same_rows(data: pd.DataFrame) -> None:
    changing = Changing(data, data.iloc[::-1])
    assert_same(outcome(FORMULA, changing), outcome(FORMULA, data))


def test_arrays_beside_the_rows_go_by_their_order(data: pd.DataFrame) -> None:
    weights = np.linspace(1.0, 2.0, len(data))
    with pytest.raises(DataError, match="the rows come in another order in a later pass"):
        MixedLM.from_formula(FORMULA, Changing(data, data.iloc[::-1]), weights=weights)


@pytest.mark.parametrize("kind", ["category", "string", "Int64", "datetime64[ns]", "bool"])
def test_every_type_of_column_has_a_fingerprint(kind: str) -> None:
    values = pd.Series([0, 1, 1, 0, 1]).astype(object if kind == "category" else kind)
    frame = pd.DataFrame({"x": values.astype(kind), "y": range(5)})
    edited = frame.assign(x=frame["x"].to_numpy()[[0, 1, 1, 1, 1]]).astype({"x": frame.dtypes["x"]})
    turned = frame.assign(x=frame["x"].array[[1, 0, 2, 3, 4]])
    first = fingerprint(frame, ["x", "y"])
    parts = fingerprint(frame[:2], ["x", "y"])
    parts.add(fingerprint(frame[2:], ["x", "y"]))
    assert parts == first == fingerprint(frame[::-1], ["x", "y"])
    assert "column 'x'" in fingerprint(edited, ["x", "y"]).difference(first)
    assert "in other rows" in fingerprint(turned, ["x", "y"]).difference(first)


def test_other_batches_of_the_same_rows_are_no_change(data: pd.DataFrame) -> None:
    """Sums of numbers around zero are equal up to the rounding of the numbers."""
    centred = data.assign(x=data["x"] - data["x"].mean())
    calls = [0]

    def rows() -> Iterator[pd.DataFrame]:
        calls[0] += 1
        return batched.cut(centred, 11 + calls[0])()

    assert_same(outcome(FORMULA, rows), outcome(FORMULA, centred))


def test_what_can_be_read_once(folder: Path) -> None:
    with pd.read_csv(folder / "a.csv", chunksize=100) as chunks:
        assert "can be read once; a fit reads its rows twice" in refusal(chunks)
    rows = iter([pd.read_csv(folder / "a.csv")])
    assert "returned the same iterator again" in refusal(lambda: rows, "y ~ x + (1 | g)")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: None, "returned None; it must return an iterator of frames"),
        (lambda: [], "returns no frame"),
        (lambda: [3], "batch 1 of the data is a int (3)"),
        ("nowhere.parquet", "there is no file 'nowhere.parquet'"),
    ],
)
def test_what_is_no_source(data: Any, words: str) -> None:
    assert words in refusal(data)


def test_a_file_of_an_unknown_format(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"")
    assert "no ending that tells its format" in refusal(tmp_path / "a.xlsx")


def test_pyarrow_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(DataError, match=r"pip install 'mixedlm_ext\[parquet\]'"):
        open_source(os.fspath(folder / "a.parquet"))


def test_what_is_a_source(data: pd.DataFrame) -> None:
    assert not any(map(is_source, (data, {"x": [1]}, pl.DataFrame({"x": [1]}), 3, ["a", 3], [])))
    assert all(map(is_source, ("a.csv", ["a.csv"], Path("a"), lambda: iter([]), iter([]))))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "numbers"),
        ([1.5, None], "numbers"),
        (["a", None], "text"),
        ([True], "truth values"),
        ([None, None], ""),
        ([np.nan], ""),
        (pd.Categorical(["a"]), "categories"),
        (pd.to_datetime(["2020-01-01"]), "dates"),
        (np.array(["a", 1], dtype=object), "mixed values"),
        (np.array([1, 2], dtype=object), "numbers"),
    ],
)
def test_kinds(values: Any, kind: str) -> None:
    assert kind_of(pd.Series(values)) == kind
