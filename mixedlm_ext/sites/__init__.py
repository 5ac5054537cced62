"""Sites that share no rows: each summarizes its own, and the sums are pooled.

The cross-products of all rows are the sum of those of the sites, so that the fit of the sum is the
fit of the pooled rows (Luo et al. 2022, Nature Communications 13, 1678, for random effects of the
sites alone).
"""

from mixedlm_ext.sites.summarize import summarize
from mixedlm_ext.sites.summary import Summary, combine

__all__ = ["Summary", "combine", "summarize"]
