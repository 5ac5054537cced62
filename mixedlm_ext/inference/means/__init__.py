"""Marginal means and slopes, their contrasts, and what many tests at once cost."""
