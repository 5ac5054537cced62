"""How the command ``mixedlm`` reads tables: each dialect gives the numbers that were written."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mixedlm_ext.shell.arguments import parse
from mixedlm_ext.shell.reading import UsageError, read

ROWS = 30


def frame() -> pd.DataFrame:
    """Numbers, text with blanks and commas, and integers."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.normal(size=ROWS).round(2),
            "Größe": [f"cask {i % 3}, old" for i in range(ROWS)],
            "n": np.arange(ROWS),
        }
    )


def read_as(path: Path | str, *options: str) -> tuple[pd.DataFrame, list[str]]:
    """Read a file with options of the command line."""
    return read(str(path), parse(["y ~ 1 + (1 | g)", "file", *options]))


def check(found: pd.DataFrame, expected: pd.DataFrame | None = None) -> None:
    """See that what was read is what was written."""
    expected = frame() if expected is None else expected
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected, check_dtype=False)
    assert found["y"].dtype == float


@pytest.mark.parametrize("compression", ["gzip", "bz2", "xz"])
def test_compressed_whatever_the_ending(compression: Any, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.txt", index=False, compression=compression)
    found, notes = read_as(tmp_path / "data.txt")
    check(found)
    assert notes == []


@pytest.mark.parametrize("sep", [",", ";", "\t", "|", " ", "~", ":", "^", "§"])
def test_separators_are_found(sep: str, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.txt", index=False, sep=sep)
    check(read_as(tmp_path / "data.txt")[0])


@pytest.mark.parametrize(
    ("sep", "said"),
    [("^", "^"), ("~", "~"), ("¦", "¦"), ("\t", "tab"), ("\t", "\\t"), (" ", "space"), (":", ":")],
)
def test_separators_can_be_said(sep: str, said: str, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.txt", index=False, sep=sep)
    check(read_as(tmp_path / "data.txt", "--sep", said)[0])


@pytest.mark.parametrize("sep", [";", "\t", " "])
def test_decimal_commas_are_found_and_noted(sep: str, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.txt", index=False, sep=sep, decimal=",")
    found, notes = read_as(tmp_path / "data.txt")
    check(found)
    assert "was read with decimal commas; --decimal says otherwise." in notes[0]
    found, notes = read_as(tmp_path / "data.txt", "--decimal", ",")
    check(found)
    assert notes == []


def test_decimal_commas_within_quotes(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('y,g\n"1,5",a\n"2,25",b\n')
    assert read_as(tmp_path / "data.csv")[0]["y"].tolist() == [1.5, 2.25]
    assert read_as(tmp_path / "data.csv", "--decimal", ".")[0]["y"].tolist() == ["1,5", "2,25"]


def test_thousands_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("y;g\n1,234;a\n23,456;b\n")
    with pytest.raises(UsageError, match=r"column 'y' holds '1,234', .*--thousands ,"):
        read_as(tmp_path / "data.txt")
    found, _ = read_as(tmp_path / "data.txt", "--thousands", ",")
    assert found["y"].tolist() == [1234, 23456]
    found, _ = read_as(tmp_path / "data.txt", "--decimal", ",")
    assert found["y"].tolist() == [1.234, 23.456]


def test_thousands_do_not_begin_with_a_zero(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("y;g\n0,234;a\n0,456;b\n")
    assert read_as(tmp_path / "data.txt")[0]["y"].tolist() == [0.234, 0.456]


def test_points_between_thousands(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("y;g\n1.234,5;a\n23.456,25;b\n")
    with pytest.raises(UsageError, match=r"column 'y' holds '1.234,5'"):
        read_as(tmp_path / "data.txt")
    found, notes = read_as(tmp_path / "data.txt", "--decimal", ".")
    assert found["y"].tolist() == ["1.234,5", "23.456,25"]
    assert notes == []
    found, _ = read_as(tmp_path / "data.txt", "--decimal", ",", "--thousands", ".")
    assert found["y"].tolist() == [1234.5, 23456.25]


def test_text_with_commas_is_text(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('y,g\n1.5,"a,1"\n2.5,"b,2"\n')
    found, notes = read_as(tmp_path / "data.csv")
    assert found["g"].tolist() == ["a,1", "b,2"]
    assert notes == []


def test_latin_1_is_noted(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False, encoding="latin-1")
    found, notes = read_as(tmp_path / "data.csv")
    check(found)
    assert "is not UTF-8 and was read as Latin-1" in notes[0]
    found, notes = read_as(tmp_path / "data.csv", "--encoding", "latin-1")
    check(found)
    assert notes == []


def test_a_letter_that_is_not_utf_8_far_down(tmp_path: Path) -> None:
    text = "y,g\n" + "1.5,a\n" * 20_000 + "2.5,é\n"
    (tmp_path / "data.csv").write_bytes(text.encode("latin-1"))
    found, notes = read_as(tmp_path / "data.csv")
    assert found["g"].iloc[-1] == "é"
    assert len(notes) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(encoding: str, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False, encoding=encoding)
    check(read_as(tmp_path / "data.csv")[0])


def test_another_encoding_than_said(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False, encoding="latin-1")
    with pytest.raises(UsageError, match="is not written in utf-8"):
        read_as(tmp_path / "data.csv", "--encoding", "utf-8")


def test_comments_at_the_top(tmp_path: Path) -> None:
    text = "# made by hand, on a Monday\n\n#\n" + frame().to_csv(index=False)
    (tmp_path / "data.csv").write_text(text, encoding="utf-8")
    check(read_as(tmp_path / "data.csv")[0])


def test_comments_anywhere(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("% top, line\ny,g\n1.5,a % end\n% own line\n2.5,b\n")
    found, _ = read_as(tmp_path / "data.csv", "--comment", "%")
    assert found["y"].tolist() == [1.5, 2.5]
    assert [g.strip() for g in found["g"]] == ["a", "b"]


def test_a_number_sign_within_a_value_is_no_comment(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("y,g\n1.5,cask #1\n2.5,cask #2\n")
    assert read_as(tmp_path / "data.csv")[0]["g"].tolist() == ["cask #1", "cask #2"]


def test_missing_values_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("y,g\n1.5,a\n.,b\n-99,c\nNA,d\n")
    found, _ = read_as(tmp_path / "data.csv", "--na", ".", "--na=-99")
    assert found["y"].isna().tolist() == [False, True, True, True]


def test_names_of_rows(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text('"y" "g"\n"1" 1.5 "a b"\n"2" 2.5 "c"\n')  # write.table's
    found, _ = read_as(tmp_path / "data.txt")
    assert found["y"].tolist() == [1.5, 2.5]
    assert found["g"].tolist() == ["a b", "c"]


def test_separators_at_the_end_of_lines_shift_nothing(tmp_path: Path) -> None:
    for first in ("1.5", "0", "1"):  # pandas would take numbers of rows for their names
        (tmp_path / "data.csv").write_text(f"y,x,g\n{first},1,a,\n2,2,b,\n")
        found, _ = read_as(tmp_path / "data.csv")
        assert found["y"].tolist() == [float(first), 2.0]
        assert found["g"].tolist() == ["a", "b"]


def test_a_last_column_without_values(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("y,g,z\n1.5,a,\n2.5,b,\n")
    found, _ = read_as(tmp_path / "data.csv")
    assert found["y"].tolist() == [1.5, 2.5]
    assert found["z"].isna().all()


def test_aligned_columns(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("    y     x  g\n  1.5    10  a\n 12.5     2  b\n")
    found, _ = read_as(tmp_path / "data.txt")
    assert found["y"].tolist() == [1.5, 12.5]
    assert list(found) == ["y", "x", "g"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for compression in (None, "gzip"):
        buffer = io.BytesIO()
        frame().to_csv(buffer, index=False, compression=compression)
        buffer.seek(0)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))
        check(read_as("-")[0])


def test_parquet_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(frame().to_parquet())))
    check(read_as("-")[0])


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input is closed"):
        read_as("-")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\x00broken", "cannot read"),
        (b"BZh9broken", "cannot read"),
        (b"\xfd7zXZ\x00broken", "cannot read"),
        (b"PAR1broken", "cannot read"),
        (b"PK\x03\x04\x14\x00\x00\x00", "it is no text. Save it as CSV or Parquet"),
        (b"", "there is nothing in it"),
        (b"y,g\n1,2\n1,2,3,4\n", "Expected 2 fields in line 3, saw 4"),
    ],
)
def test_damaged_files(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_as(tmp_path / "data")


def test_no_file(tmp_path: Path) -> None:
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "none", "there is no file")):
        with pytest.raises(UsageError, match=message):
            read_as(path)


def test_blanks_after_commas(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("y, g\n1.5, a\n2.5, b\n")
    found, _ = read_as(tmp_path / "data.csv")
    assert list(found) == ["y", "g"]
    assert found["g"].tolist() == ["a", "b"]


def test_one_column_of_words(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("g\n" + "cask 1\ncask 2\n" * 9)
    found, _ = read_as(tmp_path / "data.csv")
    assert found["g"].tolist()[:2] == ["cask 1", "cask 2"]


def test_a_name_with_a_colon_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a:b\n1.5\n2.5\n")
    assert read_as(tmp_path / "data.csv")[0]["a:b"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize(("said", "written"), [(",", "."), (".", ",")])
def test_another_decimal_sign_than_said_is_noted(said: str, written: str, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False, sep=";", decimal=written)
    _, notes = read_as(tmp_path / "data.csv", "--decimal", said)
    assert [note.endswith(f"which is text with --decimal {said}") for note in notes] == [True]
    assert "column 'y' holds" in notes[0]


def test_lines_longer_than_what_is_looked_at(tmp_path: Path) -> None:
    names = " ".join(f"{'x' + str(i):>9}" for i in range(700))
    line = " ".join(f"{i:9.1f}" for i in range(700))
    (tmp_path / "data.txt").write_text("\n".join([names, *[line] * 20]))
    assert read_as(tmp_path / "data.txt")[0].shape == (20, 700)


def test_a_column_has_one_type_however_long(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("g,n\n" + "1,1\n" * 400_000 + "a,1\n")
    assert set(map(type, read_as(tmp_path / "data.csv")[0]["g"])) == {str}
