"""What a person reads: the summary, and the fit as plain frames."""
