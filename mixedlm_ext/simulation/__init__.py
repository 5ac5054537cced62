"""New responses from a model, for its own rows and for others."""
