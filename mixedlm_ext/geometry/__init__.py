"""Where the rows of a fit lie: covariance by independent sets, leverages, residuals."""
