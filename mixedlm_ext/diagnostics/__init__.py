"""Diagnostics of a fit: residuals, leverage, influence, principal components, a check in words."""
