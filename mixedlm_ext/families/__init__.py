"""The distribution of the response given its linear predictor: likelihoods and derivatives."""
