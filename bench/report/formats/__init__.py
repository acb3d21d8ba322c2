"""The formats of a report: Markdown, HTML, PDF and files for machines, from one document.

They must not know runs or records.
"""
