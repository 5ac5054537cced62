"""What holds for the whole run of the tests: one thread of linear algebra."""

import os

# Matrices here are small. On a machine that is busy, threads of BLAS that wait for one another cost
# a hundred times what they gain. The libraries read these names when numpy is imported, later.
_THREADS = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
if not any(name in os.environ for name in _THREADS):
    os.environ.update(dict.fromkeys(_THREADS, "1"))
