"""``.. run::``, code that the build executes, and the figures of the gallery.

All ``run`` directives of a page share one namespace, as the cells of a notebook do. Shown are the
code, what it prints, and the value of its last expression: a figure as a picture, a frame as a
table, anything else as text. An exception or a warning that is not announced fails the build.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import textwrap
import traceback
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

matplotlib.use("agg")

FIGURES = "_figures"
QUIET = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning)


class Run(SphinxDirective):
    """Execute code in the page's namespace and show what came of it."""

    has_content = True
    option_spec = {  # noqa: RUF012
        "hide": directives.flag,  # do not show the code
        "rst": directives.flag,  # what is printed is reStructuredText
        "warns": directives.flag,  # warnings are shown instead of raised
        "raises": directives.unchanged,  # name of an exception whose message is shown
        "alt": directives.unchanged,  # what a picture shows, for those who cannot see it
    }

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        shown: list[nodes.Node] = []
        if "hide" not in self.options:
            block = nodes.literal_block(code, code, language="python")
            self.set_source_info(block)
            shown.append(block)
        namespace = self.env.temp_data.setdefault("run_namespace", {"__name__": "__main__"})
        try:
            printed, value = execute(
                code,
                namespace,
                Path(self.env.srcdir),
                self.options.get("raises"),
                "warns" in self.options,
            )
        except Exception:
            raise self.error(f"code of this page failed:\n{traceback.format_exc()}") from None
        if "rst" in self.options:
            return shown + self.parsed(printed)
        return shown + output(printed) + self.value(value)

    def parsed(self, text: str) -> list[nodes.Node]:
        """Return what printed reStructuredText stands for."""
        holder = nodes.section()
        holder.document = self.state.document
        lines = StringList(text.splitlines(), source=self.get_source_info()[0])
        self.state.nested_parse(lines, self.content_offset, holder)
        return holder.children

    def value(self, value: Any) -> list[nodes.Node]:
        """Return the nodes that show the value of the last expression."""
        shown: list[nodes.Node] = []
        for number, figure in enumerate(open_figures(value)):
            shown.append(self.picture(figure, number))
        if is_figure(value) or value is None:
            return shown
        if isinstance(value, pd.Series):
            value = value.to_frame("" if value.name is None else value.name)
        if isinstance(value, pd.DataFrame):
            with pd.option_context("display.max_colwidth", None):
                table = value.to_html(border=0, float_format=number_text, na_rep="")
            return [*shown, nodes.raw("", f'<div class="frame">{table}</div>', format="html")]
        if hasattr(value, "_repr_html_"):
            return [
                *shown,
                nodes.raw("", f'<div class="frame">{value._repr_html_()}</div>', format="html"),
            ]
        return shown + output(repr(value))

    def picture(self, figure: Any, number: int) -> nodes.image:
        """Save a figure below the sources and return its image."""
        folder = Path(self.env.srcdir) / FIGURES
        folder.mkdir(exist_ok=True)
        count = self.env.temp_data["run_figures"] = self.env.temp_data.get("run_figures", 0) + 1
        name = f"{self.env.docname.replace('/', '-')}-{count}.png"
        figure.savefig(folder / name, dpi=192, bbox_inches="tight", facecolor="white")
        image = nodes.image(uri=f"/{FIGURES}/{name}", alt=self.options.get("alt", "figure"))
        image["width"] = f"{figure.get_figwidth() * 96:.0f}px"
        image["classes"] = ["figure-of-code"]
        return image


def execute(
    code: str, namespace: dict[str, Any], folder: Path, raises: str | None, warns: bool
) -> tuple[str, Any]:
    """Run code; return what it printed and the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    here = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=warns) as caught:
            warnings.simplefilter("always" if warns else "error")
            for other in QUIET:
                warnings.simplefilter("ignore", other)
            try:
                exec(compile(tree, "<page>", "exec"), namespace)
                if last is not None:
                    value = eval(compile(ast.Expression(last.value), "<page>", "eval"), namespace)
                if raises is not None:
                    raise AssertionError(f"{raises} was announced and did not come")
            except Exception as error:
                if type(error).__name__ != raises:
                    raise
                print(f"{raises}: {error}")
        for warning in dict.fromkeys((w.category.__name__, str(w.message)) for w in caught or ()):
            print(textwrap.fill(": ".join(warning), 80), file=printed)
        if warns and not caught:
            raise AssertionError("a warning was announced and did not come")
    finally:
        os.chdir(here)
    return printed.getvalue(), value


def output(text: str) -> list[nodes.Node]:
    """Return printed text as a block."""
    text = "\n".join(line.rstrip() for line in text.rstrip().splitlines()).strip("\n")
    if not text:
        return []
    block = nodes.literal_block(text, text, language="none", classes=["output"])
    return [block]


def number_text(value: float) -> str:
    """Format a number of a table: five significant digits."""
    return f"{value:.5g}" if abs(value) < 1e5 or value != value else f"{value:.0f}"


def is_figure(value: Any) -> bool:
    """Tell whether a value is a matplotlib figure."""
    from matplotlib.figure import Figure

    return isinstance(value, Figure)


def open_figures(value: Any) -> list[Any]:
    """Return the figure that is the value and those that pyplot holds, and forget them."""
    from matplotlib import pyplot as plt

    figures = [value] if is_figure(value) else []
    for number in plt.get_fignums():
        figure = plt.figure(number)
        if all(figure is not other for other in figures):
            figures.append(figure)
    plt.close("all")
    return figures


def strict(gallery_conf: dict[str, Any], fname: str) -> None:
    """Make every warning of a gallery example an error; sphinx-gallery calls this before each."""
    warnings.simplefilter("error")
    for other in QUIET:
        warnings.simplefilter("ignore", other)
    pd.set_option("display.max_colwidth", None, "display.float_format", number_text)


def gallery_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures of a block of a gallery example; sphinx-gallery calls this."""
    from sphinx_gallery.scrapers import figure_rst

    value = block_vars["example_globals"].get("___")
    new = None if getattr(value, "shown_in_gallery", False) else value
    paths = []
    for figure, path in zip(open_figures(new), block_vars["image_path_iterator"], strict=False):
        figure.shown_in_gallery = True
        figure.savefig(path, dpi=192, bbox_inches="tight", facecolor="white")
        paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("run", Run)
    return {"version": "1", "parallel_read_safe": True}
