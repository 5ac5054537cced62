"""Models of rows that are not in memory: learnt in one pass, summed in another."""

from mixedlm_ext.batches.build import design_from_source

__all__ = ["design_from_source"]
