"""The command line: fit one model to a file and print its summary.

``python -m mixedlm_ext`` fits sleepstudy; ``mixedlm "y ~ x + (1 | g)" data.csv`` fits a CSV or
Parquet file.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, MixedLMError, __version__, datasets

__all__ = ["main"]

_EXAMPLE = "Reaction ~ Days + (Days | Subject)"


class _UsageError(Exception):
    """Something about the file or the arguments that the user can mend."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        Exit status: 0, or 2 after a message about bad input.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(_fit(options).summary())
    except (MixedLMError, _UsageError) as error:
        print(f"mixedlm: {error}", file=sys.stderr)
        return 2
    for warning in caught:
        if not issubclass(warning.category, DeprecationWarning):
            print(f"mixedlm: note: {warning.message}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser = argparse.ArgumentParser(
        prog="mixedlm",
        description="Fit a linear mixed model and print its summary.",
        epilog=f"Without arguments: {_EXAMPLE} on the sleepstudy data.",
    )
    parser.add_argument("formula", nargs="?", help='for example "y ~ x + (1 | g)"')
    parser.add_argument("file", nargs="?", help="a CSV or Parquet file")
    parser.add_argument("--ml", action="store_true", help="maximum likelihood instead of REML")
    parser.add_argument("--weights", metavar="COL", help="column of precision weights")
    parser.add_argument("--version", action="version", version=f"mixedlm {__version__}")
    return parser


def _fit(options: argparse.Namespace) -> Any:
    """Fit what the options ask for."""
    if options.formula is None:
        data = datasets.sleepstudy.load_pandas().data
        return MixedLM.from_formula(_EXAMPLE, data).fit(reml=not options.ml)
    if options.file is None:
        raise _UsageError('name a file after the formula: mixedlm "y ~ x + (1 | g)" data.csv')
    scope = {"np": np, "pd": pd}
    data = _read(options.file)
    model = MixedLM.from_formula(options.formula, data, weights=options.weights, eval_env=scope)
    return model.fit(reml=not options.ml)


def _read(name: str) -> pd.DataFrame:
    """Read a data file by its ending."""
    path = Path(name)
    if not path.is_file():
        raise _UsageError(f"there is no file {name!r}")
    try:
        if path.suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return pd.read_csv(path, sep=_separator(path))
    except ImportError as error:
        raise _UsageError(f"to read {name!r}, install pyarrow: pip install pyarrow") from error
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parse errors are among them
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _UsageError(f"cannot read {name!r}: {first}") from error


def _separator(path: Path) -> str:
    """Return what separates the columns, from the first line: a comma, semicolon or tab."""
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


if __name__ == "__main__":
    sys.exit(main())
