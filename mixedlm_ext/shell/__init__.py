"""The command ``mixedlm``: fit a model to a file, or predict from a saved one."""

from mixedlm_ext.shell.commands import main

__all__ = ["main"]
