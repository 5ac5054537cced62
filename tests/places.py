"""Where things are: tests of any folder find the repository and the reference numbers here."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
