"""The arguments of the command line, and what ``--help`` says."""

from __future__ import annotations

import argparse
import codecs
import re
from collections.abc import Sequence

from mixedlm_ext import __version__

__all__ = ["EXAMPLE", "in_options", "parse"]

EXAMPLE = "Reaction ~ Days + (Days | Subject)"
"""The model that is fitted, to the data set sleepstudy, if none is named."""

_FIT_USAGE = """\
mixedlm [options] "formula" file
       mixedlm predict [options] model.json file"""
_FIT_HELP = f"""\
Fit a mixed model to the columns of a file and print its summary.

The formula is lme4's: a fixed part, and random-effects terms in parentheses.

  (1 | g)              an intercept for each level of g
  (x | g)              intercept and slope of x, correlated
  (x || g)             the same, uncorrelated
  (1 | a/b)            b nested in a
  (1 | a) + (1 | b)    crossed factors
  C(x)                 numbers as a factor; np.log(x) and the like work, too

Quote the formula, since shells read parentheses and bars themselves.
Without arguments the command fits {EXAMPLE}
to its data set sleepstudy."""

_FIT_END = """\
examples:
  mixedlm "strength ~ 1 + (1 | batch/cask)" pastes.csv
  mixedlm "y ~ x + (x | g)" data.csv.gz --ml --output json > fit.json
  mixedlm "y ~ a * b + (1 | g)" data.csv --ddf kenward-roger --anova
  mixedlm "y ~ x + (1 | g)" german.txt --sep ';' --decimal ,
  mixedlm "cases + well ~ x + (1 | g)" data.csv --family binomial
  cat data.csv | mixedlm "y ~ x + (1 | g)" - --save model.json
  mixedlm predict model.json new.csv > predicted.csv

`mixedlm predict --help` tells of predictions. Notes and warnings go to standard
error. The exit status is 0; 1 if something could not be written; 2 if the
arguments, the file or the model are wrong."""

_PREDICT_USAGE = "mixedlm predict [options] model.json file"
_PREDICT_HELP = """\
Predict at the rows of a file from a model that `mixedlm ... --save` wrote.

The rows come back with a column of predictions, which is empty where a value
that the model needs is missing."""

_PREDICT_END = """\
examples:
  mixedlm predict model.json new.csv > predicted.csv
  mixedlm predict model.json new.csv --population --output json
  mixedlm predict model.json - --new-levels error < new.csv"""


_STRUCTURE = re.compile(r"\b(correlation|variance)=('[^']*'|\"[^\"]*\")?")
_KEYWORD = re.compile(r"\b(ddf|type|new_levels|offset|weights)=(['\"]?)([\w-]+)\2")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of either command; ``command`` is "fit" or "predict"."""
    if arguments and arguments[0] == "predict":
        return _predict_parser().parse_args(arguments[1:])
    return _fit_parser().parse_args(arguments)


def in_options(message: str) -> str:
    """Write keyword arguments in a message as options: ``ddf='normal'`` as ``--ddf normal``."""
    message = _STRUCTURE.sub(lambda found: f"--{found[1]} {found[2] or ''}".rstrip(), message)
    return _KEYWORD.sub(lambda found: f"--{found[1].replace('_', '-')} {found[3]}", message)


def _parser(usage: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser without arguments but ``--version``."""
    parser = argparse.ArgumentParser(
        prog="mixedlm",
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        help="show the version and exit",
        version=f"mixedlm {__version__}",
    )
    return parser


def _fit_parser() -> argparse.ArgumentParser:
    """Describe the arguments of a fit."""
    parser = _parser(_FIT_USAGE, _FIT_HELP, _FIT_END)
    parser.set_defaults(command="fit")
    parser.add_argument("formula", nargs="?", help='for example "y ~ x + (1 | g)"')
    _add_file(parser, "?")
    _add_model(parser)
    _add_generalized(parser)
    _add_tests(parser)

    output = parser.add_argument_group("output")
    _add_output(
        output,
        "text",
        "text: the summary (default); json: one object with everything, also notes; csv: a table "
        "of fixed effects and variance components, or of F tests with --anova",
    )
    output.add_argument(
        "--save", metavar="FILE", help="write the model for `mixedlm predict` to this file (JSON)"
    )
    _add_reading(parser)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Add what stands beside the formula."""
    group = parser.add_argument_group("the model")
    group.add_argument("--ml", action="store_true", help="maximum likelihood instead of REML")
    group.add_argument(
        "--weights",
        metavar="COL",
        help="column of precision weights; of trials, for a binomial proportion",
    )
    group.add_argument("--offset", metavar="COL", help="column added to the linear predictor")
    group.add_argument(
        "--correlation",
        metavar="TEXT",
        help='of the residuals of a group: "ar1(week | g)", "car1(time | g)" or "cs(1 | g)"',
    )
    group.add_argument(
        "--variance",
        metavar="TEXT",
        help='of the residuals: "sex" (a standard deviation for each), "power(x)", "exp(x)" or a '
        "product of these",
    )


def _add_generalized(parser: argparse.ArgumentParser) -> None:
    """Add the distribution of the response and how its likelihood is approximated."""
    group = parser.add_argument_group("a generalized model")
    group.add_argument(
        "--family",
        metavar="NAME",
        help="binomial, poisson, negative-binomial, gamma, inverse-gaussian or gaussian",
    )
    group.add_argument(
        "--link",
        metavar="NAME",
        help="logit, probit, cloglog, loglog, cauchit, log, identity, inverse, inverse-squared or "
        "sqrt; the family's own by default",
    )
    group.add_argument(
        "--nagq",
        type=int,
        metavar="K",
        help="1 Laplace's approximation (default), more nodes of quadrature, 0 fast",
    )
    group.add_argument(
        "--exposure", metavar="COL", help="column whose logarithm is added to the predictor"
    )


def _add_tests(parser: argparse.ArgumentParser) -> None:
    """Add how fixed effects are tested."""
    group = parser.add_argument_group("tests of the fixed effects")
    group.add_argument(
        "--ddf",
        metavar="METHOD",
        help="degrees of freedom: satterthwaite (default), kenward-roger, kenward-roger-full, "
        "residual, or normal for z tests",
    )
    group.add_argument("--anova", action="store_true", help="also an F test of each term")
    group.add_argument(
        "--type",
        metavar="TYPE",
        help="of the F tests: 1, 2, 3 (default) or marginal; implies --anova",
    )


def _predict_parser() -> argparse.ArgumentParser:
    """Describe the arguments of a prediction."""
    parser = _parser(_PREDICT_USAGE, _PREDICT_HELP, _PREDICT_END)
    parser.set_defaults(command="predict")
    parser.add_argument("model", help="a file that `mixedlm ... --save FILE` wrote")
    _add_file(parser, None)

    prediction = parser.add_argument_group("the prediction")
    prediction.add_argument(
        "--population", action="store_true", help="leave the random effects out"
    )
    prediction.add_argument(
        "--new-levels",
        metavar="HOW",
        default="population",
        help="at groups that the fit has not seen: population (random effects of zero, default), "
        "nan (no prediction) or error",
    )
    prediction.add_argument("--offset", metavar="COL", help="column added to the predictions")
    prediction.add_argument(
        "--name", metavar="COL", default="predicted", help="name of the new column (predicted)"
    )

    output = parser.add_argument_group("output")
    _add_output(output, "csv", "csv (default), json: a list of rows, or text: an aligned table")
    _add_reading(parser)
    return parser


def _add_file(parser: argparse.ArgumentParser, nargs: str | None) -> None:
    """Add the data file, whose absence is an error or noticed later."""
    parser.add_argument(
        "file",
        nargs=nargs,
        help="CSV or other text, or Parquet, also compressed; - is standard input",
    )


def _add_output(group: argparse._ArgumentGroup, default: str, text: str) -> None:
    """Add the choice of a format."""
    group.add_argument(
        "--output", choices=("text", "json", "csv"), default=default, metavar="FORMAT", help=text
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """Add how text files are read."""
    group = parser.add_argument_group(
        "how text files are read", "What is not said is found out from the file itself."
    )
    group.add_argument(
        "--sep",
        type=_separator,
        metavar="CHAR",
        help="between columns: one character, tab or space",
    )
    group.add_argument(
        "--decimal", type=_character, metavar="CHAR", help="the decimal sign: . or ,"
    )
    group.add_argument(
        "--thousands", type=_character, metavar="CHAR", help="between groups of three digits"
    )
    group.add_argument(
        "--comment",
        type=_character,
        metavar="CHAR",
        help="what starts a comment, anywhere in a line; by default # does at the top of the file",
    )
    group.add_argument(
        "--na", action="append", default=[], metavar="TEXT",
        help="what stands for a missing value besides NA, NaN, null and nothing; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--encoding", type=_encoding, metavar="NAME", help="UTF-8, or else Latin-1, by default"
    )


_NAMED = {"tab": "\t", "\\t": "\t", "space": " "}


def _separator(text: str) -> str:
    """Return the character that a separator is named by."""
    return _character(_NAMED.get(text.lower(), text))


def _character(text: str) -> str:
    """Return one character, or refuse."""
    if len(text) != 1 or text in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r} is not one character, such as ';'")
    return text


def _encoding(text: str) -> str:
    """Return the name of an encoding that Python knows, or refuse."""
    try:
        codecs.lookup(text)
    except LookupError:
        raise argparse.ArgumentTypeError(f"{text!r} is no encoding, such as cp1252") from None
    return text
