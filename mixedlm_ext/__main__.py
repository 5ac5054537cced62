"""``python -m mixedlm_ext``, the same as the command ``mixedlm``."""

import sys

from mixedlm_ext.shell import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
