"""Methods of `MixedLMResults` by topic: each module holds a mixin whose methods delegate to one package."""
