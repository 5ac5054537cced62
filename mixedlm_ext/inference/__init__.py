"""Inference about the fixed effects: covariance, degrees of freedom, tests."""
