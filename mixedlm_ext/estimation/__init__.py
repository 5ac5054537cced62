"""From a criterion to the record of a fit, and what that record says."""
