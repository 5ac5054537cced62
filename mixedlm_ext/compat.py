"""What lies elsewhere in other versions of statsmodels."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # statsmodels' have no types
    from functools import cached_property as cache_readonly
    from functools import cached_property as cached_data
    from functools import cached_property as cached_value
else:
    try:
        from statsmodels.tools._decorators import cache_readonly, cached_data, cached_value
    except ImportError:  # statsmodels 0.14
        from statsmodels.tools.decorators import cache_readonly, cached_data, cached_value

__all__ = ["cache_readonly", "cached_data", "cached_value"]
