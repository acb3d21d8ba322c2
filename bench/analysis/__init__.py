"""Numbers read off records: correlations, widths, rankings, tables of a finished run.

It must not know how a number is printed or drawn.
"""
