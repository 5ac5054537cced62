"""Profile likelihood, and what is derived from the variances."""
