"""Estimates, intervals and tests, in arrays over all configurations."""
