"""The command ``mixedlm`` as a process: terminals, pipes that close, disks that are full."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from mixedlm_ext import datasets

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")

MIXEDLM = f"{shlex.quote(sys.executable)} -m mixedlm_ext"
FORMULA = "'Reaction ~ Days + (Days | Subject)'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session")
    datasets.sleepstudy.load_pandas().data.to_csv(path / "data.csv", index=False)
    return path


def environment() -> dict[str, str]:
    """The environment of a user who works in another folder than the package's."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def session(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell."""
    return subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment(),
        timeout=120,
    )


def test_fit_save_and_predict_in_a_pipeline(folder: Path) -> None:
    run = session(
        f"cat data.csv | {MIXEDLM} {FORMULA} - --save model.json --output csv > fit.csv"
        f" && head -n 2 data.csv | {MIXEDLM} predict model.json - --population",
        folder,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[0] == "Reaction,Days,Subject,predicted"
    assert run.stdout.splitlines()[1].startswith("249.56,0,308,251.405104")
    assert "fixed,,Days,10.4672859" in (folder / "fit.csv").read_text()


def test_a_reader_that_has_gone(folder: Path) -> None:
    run = session(f"({MIXEDLM} {FORMULA} data.csv; echo status $? >&2) | true", folder)
    assert run.stderr == "status 141\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk(folder: Path) -> None:
    run = session(f"{MIXEDLM} {FORMULA} data.csv --save /dev/full > /dev/full", folder)
    assert run.returncode == 1
    assert run.stderr == "mixedlm: cannot write: No space left on device\n"


def test_standard_output_that_is_closed(folder: Path) -> None:
    run = session(f"{MIXEDLM} {FORMULA} data.csv --save kept.json >&-", folder)
    assert run.returncode == 1
    assert run.stderr == "mixedlm: cannot write: standard output is closed\n"
    assert (folder / "kept.json").is_file()


def test_standard_error_that_is_closed(folder: Path) -> None:
    run = session(f"{MIXEDLM} {FORMULA} nowhere.csv 2>&-; echo status $?", folder)
    assert run.stdout == "status 2\n"


def test_letters_that_the_output_lacks(folder: Path) -> None:
    (folder / "é.csv").write_bytes(
        (folder / "data.csv").read_text().replace("Subject", "Größe").encode()
    )
    run = session(
        f"PYTHONUTF8=0 PYTHONIOENCODING=ascii {MIXEDLM} 'Reaction ~ 1 + (1 | Größe)' é.csv", folder
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "Groups: Gr\\xf6\\xdfe (18)." in run.stdout


def read_terminal(fd: int) -> str:
    """What a program writes to its terminal until it ends."""
    text = b""
    while select.select([fd], [], [], 60)[0]:
        try:
            part = os.read(fd, 65536)
        except OSError:  # Linux's way to say that the other side was closed
            break
        if not part:
            break
        text += part
    return text.decode().replace("\r\n", "\n")


def test_a_terminal(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = f"exec {MIXEDLM} {FORMULA} - --anova"
    process = subprocess.Popen(
        ["sh", "-c", command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment(),
    )
    os.close(theirs)
    typed = "".join((folder / "data.csv").read_text().splitlines(keepends=True)[:41])
    os.write(ours, typed.encode() + b"\x04")  # the data of four subjects, and Control-D
    shown = read_terminal(ours)
    os.close(ours)
    assert process.wait(60) == 0
    assert "No. Observations:                  40   No. Groups:                          4" in shown
    assert "Type III analysis of variance, degrees of freedom: satterthwaite" in shown
    assert "Traceback" not in shown
