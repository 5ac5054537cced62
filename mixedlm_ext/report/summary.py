"""The printed summary, in statsmodels' format."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from statsmodels.iolib.summary import Summary, forg
from statsmodels.iolib.table import SimpleTable
from statsmodels.iolib.tableformatting import fmt_params

from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.varcorr import varcorr
from mixedlm_ext.inference.choices import name_list
from mixedlm_ext.inference.fixed.coefficients import Coefficients
from mixedlm_ext.search import Sampling

__all__ = ["summary", "summary_notes", "summary_page"]

_WIDTH = 78


def summary(
    fitted: Fitted,
    yname: str | None = None,
    xname: Sequence[str] | None = None,
    title: str | None = None,
    alpha: float = 0.05,
) -> Summary:
    """Summarize the fit.

    Parameters
    ----------
    yname : str, optional
        Another name for the response.
    xname : sequence of str, optional
        Other names for the fixed effects.
    title : str, optional
    alpha : float
        Level of the confidence intervals.

    Returns
    -------
    Summary
        ``tables[0]`` describes the model, ``tables[1]`` the fixed effects, ``tables[2]`` the
        variance components.
    """
    heading = title or "Linear Mixed Model Regression Results"
    notes = summary_notes(fitted)
    return summary_page(fitted, heading, _model_items(fitted), notes, yname, xname, alpha)


def summary_page(
    fitted: Fitted,
    heading: str,
    items: tuple[list[Any], list[Any]],
    notes: Sequence[str],
    yname: str | None,
    xname: Sequence[str] | None,
    alpha: float,
) -> Summary:
    """Lay out a summary: items of the model on the left and right, tables, notes."""
    out = Summary()
    response = fitted.design.endog_name if yname is None else yname
    own = list(fitted.x_names)
    names = own if xname is None else name_list(xname, "xname", f"{own}")
    out.add_table_2cols(None, heading, *items, yname=response, xname=names)
    out.tables.append(_fixed_effects_table(fitted, names, alpha))
    out.tables.append(_variance_table(fitted))
    out.add_extra_txt([textwrap.fill(note, _WIDTH) for note in notes])
    return out


def _model_items(fitted: Fitted) -> tuple[list[Any], list[Any]]:
    """Return the name and value pairs of the left and right half of the first table."""
    fit = fitted.fit
    criterion = "REML criterion:" if fit.reml else "-2 Log-Likelihood:"
    left: list[Any] = [
        ("Dep. Variable:", None),
        ("Model:", [fitted.face.model]),
        ("Method:", ["REML" if fit.reml else "ML"]),
        ("Date:", None),
        ("Time:", None),
        ("No. Observations:", [f"{fitted.n:d}"]),
        ("Df Residuals:", [f"{fitted.n - len(fitted.beta):d}"]),
        ("Converged:", ["Yes" if fit.optimization.converged else "No"]),
    ]
    right = [
        (criterion, [f"{fit.objective:#10.7g}"]),
        ("Log-Likelihood:", [f"{fitted.llf:#8.5g}"]),
        ("AIC:", [f"{fitted.aic:#8.5g}"]),
        ("BIC:", [f"{fitted.bic:#8.5g}"]),
        ("Scale:", [f"{fit.sigma**2:#8.5g}"]),
        ("No. Groups:", [", ".join(f"{count:d}" for count in fitted.n_groups.values())]),
    ]
    return left, right


def _fixed_effects_table(fitted: Fitted, names: list[str], alpha: float) -> SimpleTable:
    """Return coefficients, standard errors, tests and intervals."""
    found = Coefficients(fitted)
    own = fitted.x_names
    if len(names) != len(own):
        raise FitError(
            f"xname has {len(names)} names for {len(own)} fixed effects: {', '.join(own)}."
        )
    if not names:
        row = ["No fixed effects", "", "", ""]  # statsmodels' LaTeX needs as many as in tables[0]
        return SimpleTable([row], txt_fmt=_format([_WIDTH - 3, 0, 0, 0], "l"))
    statistic = "t" if fitted.use_t else "z"
    lower, upper = found.limits(alpha).T
    columns = {
        "coef": [forg(value, prec=4) for value in fitted.beta],
        "std err": [forg(value) for value in found.se],
    }
    if fitted.use_t:
        columns["df"] = [_degrees(value) for value in found.df]
    columns |= {
        statistic: [forg(value) for value in found.t],
        f"P>|{statistic}|": [f"{value:#6.3f}" for value in found.p],
        f"[{alpha / 2:g}": [forg(value) for value in lower],
        f"{1 - alpha / 2:g}]": [forg(value) for value in upper],
    }
    cells = [[cell.strip() for cell in row] for row in zip(*columns.values())]
    least = [max(len(h), *(len(c) for c in column)) for h, column in zip(columns, zip(*cells))]
    stub = max(10, *(len(name) for name in names))
    wide = [10, 10, *([10] if fitted.use_t else []), 10, 10, 11, 11]
    widths = _narrow(wide, least, stub)
    return SimpleTable(cells, list(columns), names, txt_fmt=_format([stub, *widths], "r"))


def _narrow(widths: list[int], least: list[int], stub: int) -> list[int]:
    """Narrow the columns, the widest first, so that a table with long names keeps to the page."""
    widths = [max(w, low) for w, low in zip(widths, least)]
    while stub + sum(widths) + len(widths) > _WIDTH:
        spare = [w - low for w, low in zip(widths, least)]
        if max(spare) <= 0:
            break
        widths[spare.index(max(spare))] -= 1
    return widths


def _variance_table(fitted: Fitted) -> SimpleTable:
    """Return variances, standard deviations and correlations of the random effects."""
    frame = varcorr(fitted.fit)
    corr = [name for name in frame.columns if name.startswith("corr_")]
    valued = [name for name in ("range", "value") if name in frame]
    rows, stubs, previous = [], [], None
    for record in frame.to_dict("records"):
        group = record["group"]
        stubs.append(group if group != previous else "")
        cells = [record["name"], _number(record["variance"], 4), _number(record["std_dev"], 3)]
        shown = [_correlation(record[name]) for name in corr]
        shown += [_number(record[name], 3) for name in valued]
        rows.append(cells + shown)
        previous = group
    stub = max(10, *(len(s) for s in stubs))
    numbers = [12, 10] + [7] * len(corr) + [9] * len(valued)
    spare = _WIDTH - stub - sum(numbers) - len(numbers) - 1
    name = max(spare, *(len(row[0]) for row in rows))
    header = ["Name".ljust(name), "variance", "std dev"]
    if corr:
        header += ["corr", *[""] * (len(corr) - 1)]
    header += valued
    return SimpleTable(
        [[group, *row] for group, row in zip(stubs, rows)],
        ["Groups".ljust(stub), *header],
        txt_fmt=_format([stub, name, *numbers], "ll" + "r" * len(numbers)),
    )


def _number(value: float, digits: int) -> str:
    """Format a variance or a standard deviation, blank where there is none."""
    if np.isnan(value):
        return ""
    size = abs(value)
    if value != 0 and (size < 10.0 ** (1 - digits) or size >= 1e7):
        return f"{value:.{digits}g}"
    return f"{value:.{digits}f}"


def _correlation(value: float) -> str:
    """Format a correlation, blank where there is none."""
    return "" if np.isnan(value) else f"{value:.3f}"


def _degrees(value: float) -> str:
    """Format degrees of freedom: 17.0, 7.9e+05 or inf."""
    return f"{value:.1f}" if value < 1e5 or np.isinf(value) else f"{value:.2g}"


def _format(widths: list[int], aligns: str) -> dict[str, Any]:
    """Return statsmodels' text format with other widths."""
    out = dict(fmt_params)
    out.update(colwidths=widths, data_aligns=aligns, data_fmts=["%s"])
    return out


def _sampling_note(sampling: Sampling) -> str:
    """Say which solver it was and what its samples leave uncertain."""
    few = "" if sampling.enough else ": more than intended"
    return (
        f"Solver: iterative, the log-determinant by {sampling.samples} samples. Their standard "
        f"error is {_share(sampling.share)} of the standard error of theta, at most, and "
        f"{0.5 * sampling.objective_se:.2g} of the log-likelihood{few}."
    )


def _share(value: float) -> str:
    """Return a small share in percent."""
    return "less than 0.01 %" if value < 1e-4 else f"{100.0 * value:.2f} %"


def summary_notes(fitted: Fitted) -> list[str]:
    """Return the remarks under the tables, a sentence or two each."""
    groups = ", ".join(f"{name} ({count})" for name, count in fitted.n_groups.items())
    notes = [f"Groups: {groups}."] if groups else ["No random effects."]
    if len(fitted.beta):
        notes.append(fitted.method.note())
    if fitted.fit.sampling is not None:
        notes.append(_sampling_note(fitted.fit.sampling))
    design = fitted.design
    if fitted.fit.has_residual and fitted.fit.fixed_sigma is not None:
        notes.append(f"The residual standard deviation was fixed at {fitted.fit.sigma:g}.")
    if design.residual is not None:
        notes.append(f"Residuals: {design.residual.text}.")
        ends = design.residual.at_ends(fitted.fit.z) if fitted.fit.z is not None else []
        if ends:
            notes.append(
                f"At the end of its range: {', '.join(ends)} of the residuals. Compare with a "
                "simpler structure."
            )
    if fitted.fit.restrictions is not None:
        notes.append(f"Not estimated: {'; '.join(fitted.fit.restrictions.words)}.")
    singular = [term.name for term, flag in zip(design.terms, fitted.fit.singular_terms) if flag]
    if singular:
        notes.append(
            f"The covariance of the random effects of {', '.join(singular)} is singular: some "
            "variance is estimated as zero, or some correlation as one."
        )
    if design.dropped:
        notes.append(f"Not estimable and dropped: {', '.join(design.dropped)}.")
    if design.n_missing:
        notes.append(f"Rows with missing values left out: {design.n_missing}.")
    if design.n_zero_weight:
        notes.append(f"Rows with zero weight left out: {design.n_zero_weight}.")
    if not fitted.fit.optimization.converged:
        notes.append(f"Not converged: {fitted.fit.optimization.message.rstrip('.')}.")
    return notes
