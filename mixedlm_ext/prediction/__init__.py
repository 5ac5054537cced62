"""Predictions: means, their errors, and a predictor that needs no data."""
