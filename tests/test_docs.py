"""The sources of the site hang together. The build itself, which runs their code, is not tested."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mixedlm_ext

DOCS = Path(__file__).parents[1] / "docs"
MADE_BY_THE_BUILD = ("api/", "gallery/")
WITHOUT_CODE = {"api", "changes", "glossary"}
"""Pages that include another file or list other pages."""

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="no sources of the site")

PAGES = sorted(path.stem for path in DOCS.glob("*.rst"))
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))


def text_of(page: str) -> str:
    """The source of a page."""
    return (DOCS / f"{page}.rst").read_text(encoding="utf-8")


def run_blocks(text: str) -> list[str]:
    """The code of the ``run`` directives, without their options."""
    found = re.findall(r"^\.\. run::\n((?:(?: {3}.*)?\n)+)", text, re.MULTILINE)
    blocks = []
    for block in found:
        lines = textwrap.dedent(block).split("\n")
        while lines and re.match(r":\w+:", lines[0]):
            del lines[0]
        blocks.append("\n".join(lines).strip("\n"))
    return blocks


def listed(text: str) -> list[str]:
    """The documents that the tables of contents of a page list."""
    found = re.findall(r"^\.\. toctree::\n((?:(?: {3}.*)?\n)+)", text + "\n", re.MULTILINE)
    lines = [line.strip() for block in found for line in block.split("\n")]
    return [line for line in lines if line and not line.startswith(":")]


def test_every_page_is_in_the_table_of_contents_once() -> None:
    entries = listed(text_of("index"))
    assert len(entries) == len(set(entries))
    own = {entry for entry in entries if not entry.startswith(MADE_BY_THE_BUILD)}
    assert own == set(PAGES) - {"index"}


def test_the_api_lists_the_pages_that_the_build_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import reference

    assert listed(text_of("api")) == [f"api/{name}" for name in reference.pages()]


def test_every_public_class_and_what_is_returned_has_an_entry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import reference

    reference.write(SimpleNamespace(srcdir=tmp_path))
    entries = set()
    for name in reference.pages():
        text = (tmp_path / reference.FOLDER / f"{name}.rst").read_text(encoding="utf-8")
        entries |= set(re.findall(r":: [\w.]*?(\w+)(?:\(\))?\n", text))
    assert set(mixedlm_ext.__all__) - {"datasets"} <= entries
    assert {"KnownMatrix", "Profile", "MarginalMeans", "Check", "Optimization"} <= entries
    assert "information" not in entries  # which is there only to be refused


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_is_found_and_reads(page: str) -> None:
    text = text_of(page)
    blocks = run_blocks(text)
    assert len(blocks) == text.count(".. run::")
    assert blocks or page in WITHOUT_CODE
    for block in blocks:
        assert block.strip()
        ast.parse(block)


def test_code_of_the_stages_runs() -> None:
    """It names more of the package's inside than other pages do."""
    pytest.importorskip("matplotlib")
    namespace: dict[str, object] = {"__name__": "__main__"}
    with np.printoptions():  # which the page sets
        for block in run_blocks(text_of("stages")):
            exec(compile(block, "stages.rst", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES)
def test_references_of_a_page_exist(page: str) -> None:
    for target in re.findall(r":doc:`(?:[^`<]*<)?/?([\w/]+)>?`", text_of(page)):
        assert target in PAGES or target == "gallery/index", target


def test_included_files_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\.\. include:: (\S+)", text_of(page)):
            assert (DOCS / target).exists(), target


def test_the_gallery_is_large_enough() -> None:
    assert len(EXAMPLES) >= 14


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_of_the_gallery_reads(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    title, rule, *_ = (ast.get_docstring(tree) or "\n").split("\n")
    assert set(rule) == {"="}
    assert len(rule) == len(title)
    assert "# %%" in text
    for name in re.findall(r'"\.\./data/([^"]+)"', text):
        assert (DOCS / "data" / name).exists(), name


def test_sources_of_all_files_are_listed() -> None:
    text = text_of("data")
    for path in (DOCS / "data").iterdir():
        assert f"``{path.name}``" in text, path.name


def tables(lines: list[str]) -> Iterator[tuple[str, list[int]]]:
    """The lines of simple tables, each with the places between its columns."""
    first, gaps = 0, list[int]()
    for line in lines:
        if re.fullmatch(r" *=+(  +=+)+ *", line):
            first = line.index("=")
            gaps = [i for i in range(first, len(line.rstrip())) if line[i] == " "]
        elif not line.strip() or line[:first].strip():  # blank, or less indented
            gaps = []
        elif gaps:
            yield line, gaps


@pytest.mark.parametrize("folder", ["docs", "mixedlm_ext"])
def test_tables_keep_to_their_columns(folder: str) -> None:
    """Text in the margin of a simple table stops the build."""
    paths = [*(DOCS.parent / folder).glob("*.rst"), *(DOCS.parent / folder).rglob("*.py")]
    found = [
        f"{path.name}: {line}"
        for path in paths
        for line, gaps in tables(path.read_text(encoding="utf-8").splitlines())
        if any(line[i : i + 1].strip() for i in gaps)
    ]
    assert found == []
