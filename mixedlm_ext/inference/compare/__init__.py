"""Models beside one another: fewer terms, likelihood ratios, elimination."""
