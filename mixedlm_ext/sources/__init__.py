"""Where rows come from when they are not in memory: one kind of source a file, none a parser."""

from mixedlm_ext.sources.base import Batch, Progress, Source
from mixedlm_ext.sources.open import is_source, open_source

__all__ = ["Batch", "Progress", "Source", "is_source", "open_source"]
