"""Runs → tables, figures, one page."""
