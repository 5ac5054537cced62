"""The two commands, and what becomes of errors."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext import MixedGLM, MixedLM, MixedLMError, datasets
from mixedlm_ext.prediction.predictor import Predictor
from mixedlm_ext.shell.arguments import EXAMPLE, in_options, parse
from mixedlm_ext.shell.families import family_of
from mixedlm_ext.shell.reading import UsageError, could_separate, read
from mixedlm_ext.shell.reports import fit_csv, fit_json, fit_text, predictions
from mixedlm_ext.shell.streams import CLOSED_PIPE, WriteError, say, write_file, write_out

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        Exit status: 0; 1 after a message about output that cannot be written; 2 after one about bad
        input; 130 if interrupted; 141 if nobody reads the output any more.

    Examples
    --------
    >>> from mixedlm_ext.__main__ import main
    >>> main(["Reaction ~ Days + (Days | Subject)", "nowhere.csv"])
    2
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return _COMMANDS[options.command](options)
    except (MixedLMError, UsageError) as error:
        say(in_options(str(error)))
        return 2
    except WriteError as error:
        say(str(error))
        return 1
    except MemoryError:
        say("there is not enough memory for this model and these data.")
        return 2
    except BrokenPipeError:
        return CLOSED_PIPE
    except KeyboardInterrupt:
        say("interrupted.")
        return 130


@contextmanager
def _notes() -> Iterator[list[str]]:
    """Collect warnings as notes, those about the code excepted."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    code = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    notes += [str(w.message) for w in caught if not issubclass(w.category, code)]


def _say_notes(notes: Sequence[str]) -> None:
    """Write notes to standard error, each once."""
    for note in dict.fromkeys(notes):
        say(f"note: {note}")


@contextmanager
def _said_on_error(notes: Sequence[str]) -> Iterator[None]:
    """Say how the file was read before an error that may come of it."""
    try:
        yield
    except MixedLMError:
        _say_notes(notes)
        raise


# --- a fit ------------------------------------------------------------------------------------


def _fit_command(options: argparse.Namespace) -> int:
    """Fit, save, print."""
    data, read_notes = _data(options)
    with _notes() as notes, _said_on_error(read_notes):
        result = _fit(data, options)
        anova = _anova(result, options)
    notes[:0] = read_notes
    unsaved = _save(result, options.save)  # first, since who reads the output may leave early
    try:
        write_out(_fit_report(result, anova, options.output, notes))
    finally:
        n_missing = result.fit_record.design.n_missing
        if n_missing and options.output == "csv":
            notes.append(f"rows with missing values left out: {n_missing}.")
        _say_notes(notes)
    if unsaved is not None:
        raise unsaved
    return 0


def _data(options: argparse.Namespace) -> tuple[pd.DataFrame, list[str]]:
    """Return the table to fit, and notes."""
    formula, file = options.formula, options.file
    if formula is None:
        if options.family is not None:
            raise UsageError("name a formula and a file: mixedlm --family ... 'y ~ ...' data.csv")
        return datasets.sleepstudy.load_pandas().data, []
    if file is None:
        raise UsageError('name a file after the formula: mixedlm "y ~ x + (1 | g)" data.csv')
    if "~" in file and "~" not in formula:
        raise UsageError(f'the formula comes before the file: mixedlm "{file}" {formula}')
    data, notes = read(file, options)
    if data.shape[1] == 1:
        name = str(data.columns[0])
        sep = next((mark for mark in name if could_separate(mark) and mark != options.sep), ";")
        said = "" if options.sep is None else f" with --sep '{options.sep}'"
        raise UsageError(
            f"{file!r} has one column only{said}, {name!r}. "
            f"Say what separates its columns, such as --sep '{sep}'"
        )
    return data, notes


def _fit(data: pd.DataFrame, options: argparse.Namespace) -> Any:
    """Fit what the options ask for."""
    family = family_of(options)
    names = {"np": np, "pd": pd}
    rows = {"weights": options.weights, "offset": options.offset}
    if family is not None:
        generalized = MixedGLM.from_formula(
            options.formula, data, family, exposure=options.exposure, eval_env=names, **rows
        )
        return generalized.fit(nagq=1 if options.nagq is None else options.nagq)
    rows |= {"correlation": options.correlation, "variance": options.variance}
    model = MixedLM.from_formula(options.formula or EXAMPLE, data, eval_env=names, **rows)
    return model.fit(reml=not options.ml, ddf=options.ddf or "satterthwaite")


def _anova(result: Any, options: argparse.Namespace) -> pd.DataFrame | None:
    """Return the table of F tests, if it is asked for."""
    if not (options.anova or options.type):
        return None
    return result.anova(type=options.type or 3)


def _fit_report(result: Any, anova: Any, form: str, notes: Sequence[str]) -> str:
    """Return what is printed."""
    if form == "json":
        return fit_json(result, anova, notes)
    return fit_csv(result, anova) if form == "csv" else fit_text(result, anova)


def _save(result: Any, path: str | None) -> Exception | None:
    """Save the model; return why not, for later."""
    if path is None:
        return None
    try:
        write_file(path, result.to_predictor().save)
    except (MixedLMError, WriteError) as error:
        return error
    return None


# --- a prediction -----------------------------------------------------------------------------


def _predict_command(options: argparse.Namespace) -> int:
    """Predict and print the rows with their predictions."""
    predictor = _load(options.model)
    data, read_notes = read(options.file, options)
    if options.name in data.columns:
        raise UsageError(
            f"{options.file!r} has a column {options.name!r} already. "
            "Name the new one: --name prediction"
        )
    with _notes() as notes, _said_on_error(read_notes):
        data[options.name] = predictor.predict(
            data,
            which="population" if options.population else "conditional",
            new_levels=options.new_levels,
            offset=options.offset,
        )
    try:
        write_out(predictions(data, options.output))
    finally:
        _say_notes([*read_notes, *notes])
    return 0


def _load(path: str) -> Predictor:
    """Read a saved model."""
    try:
        return Predictor.load(path)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path!r}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path!r}: {error.strerror}") from error


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "fit": _fit_command,
    "predict": _predict_command,
}
