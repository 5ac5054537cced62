"""Other responses from the fit: bootstrap, jackknife, power."""
