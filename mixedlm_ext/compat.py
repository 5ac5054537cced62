"""What lies elsewhere in other versions of statsmodels."""

try:
    from statsmodels.tools._decorators import cache_readonly, cached_data, cached_value
except ImportError:  # statsmodels 0.14
    from statsmodels.tools.decorators import cache_readonly, cached_data, cached_value

__all__ = ["cache_readonly", "cached_data", "cached_value"]
