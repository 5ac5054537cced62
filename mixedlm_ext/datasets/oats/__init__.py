from mixedlm_ext.datasets.oats.data import (
    COPYRIGHT,
    DESCRLONG,
    DESCRSHORT,
    NOTE,
    SOURCE,
    TITLE,
    load,
    load_pandas,
)

__all__ = [
    "COPYRIGHT",
    "DESCRLONG",
    "DESCRSHORT",
    "NOTE",
    "SOURCE",
    "TITLE",
    "load",
    "load_pandas",
]
