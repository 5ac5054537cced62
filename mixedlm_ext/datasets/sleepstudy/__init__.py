from mixedlm_ext.datasets.sleepstudy.data import (
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
