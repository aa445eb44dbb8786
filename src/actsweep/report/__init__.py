"""Runs → tables, figures, one page.

Flow: settings → frames → figures; settings → tasks → verdict, findings → summary → page, terminal, as_data, as_text.
"""
