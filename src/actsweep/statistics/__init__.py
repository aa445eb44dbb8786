"""Runs → settings → estimates, intervals, comparisons."""
