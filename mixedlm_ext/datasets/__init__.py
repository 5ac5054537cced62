"""Data sets of the mixed-model literature, each with `load()` and `load_pandas()`.

Examples
--------
>>> from mixedlm_ext import datasets
>>> datasets.sleepstudy.load_pandas().data.head(3)
   Reaction  Days Subject
0  249.5600     0     308
1  258.7047     1     308
2  250.8006     2     308
>>> print(datasets.sleepstudy.DESCRSHORT)
Average reaction time of 18 subjects on each of 10 days of restricted sleep.
"""

from mixedlm_ext.datasets import (
    cake,
    cbpp,
    dyestuff,
    dyestuff2,
    insteval,
    machines,
    oats,
    pastes,
    penicillin,
    sleepstudy,
)

__all__ = [
    "cake",
    "cbpp",
    "dyestuff",
    "dyestuff2",
    "insteval",
    "machines",
    "oats",
    "pastes",
    "penicillin",
    "sleepstudy",
]
