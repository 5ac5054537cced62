"""Residual structures: correlations and variances of the residuals, by a few parameters."""
