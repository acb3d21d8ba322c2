"""The parts of a report: each turns numbers into tables, figures or sentences of the document.

They must not know any output format.
"""
