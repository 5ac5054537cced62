"""Where statsmodels' users look for the formula interface: ``import mixedlm_ext.formula.api``."""
