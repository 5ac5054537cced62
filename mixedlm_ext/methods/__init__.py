"""Methods of `MixedLMResults` by topic: each mixin delegates to one package."""
