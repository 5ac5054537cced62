"""Generalized linear mixed models: what is asked of a fit, on the pieces of the linear house."""
