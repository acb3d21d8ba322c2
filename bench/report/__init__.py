"""Reports: a run's tables become one document object, and that becomes Markdown, PDF and HTML.

This room knows words, tables, figures and formats; it must not know a live run.
"""
