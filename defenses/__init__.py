"""Certified defences: a smoother (where noise is added) x a statistic (what is taken).

This package draws scores and turns them into certificates; it must not know data sets, records,
runs or files.
"""
