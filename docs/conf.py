"""Settings of the documentation: ``python -m sphinx -W docs docs/_build``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import mixedlm_ext  # noqa: E402

project = "mixedlm_ext"
author = "mixedlm_ext developers"
copyright = "mixedlm_ext developers"
release = version = mixedlm_ext.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "executed",
    "reference",
]
exclude_patterns = [
    "_build",
    "examples/README.rst",
    "**/GALLERY_HEADER.rst",
    "sg_execution_times.rst",
]
default_role = "py:obj"
add_module_names = False
autodoc_typehints = "none"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
toc_object_entries = False
python_use_unqualified_type_names = True

pygments_style = "default"  # colours of enough contrast, comments among them
pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = f"mixedlm_ext {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = True
html_copy_source = True
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#1d5a85", "color-brand-content": "#1d5a85"},
    "dark_css_variables": {"color-brand-primary": "#8fc3e8", "color-brand-content": "#8fc3e8"},
}
# what the linkcheck builder looks at: this site's own pages and anchors
linkcheck_ignore = [r"https?://.*"]


sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "image_scrapers": ("executed.gallery_figures",),
    "reset_modules": ("matplotlib", "executed.strict"),
    "ignore_repr_types": r"Figure|AxesImage",
    "capture_repr": ("_repr_html_", "__repr__"),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "abort_on_example_error": False,
    "show_signature": False,
    "min_reported_time": 1e6,
    "thumbnail_size": (320, 224),
}
