"""Certified defences: a smoother (where noise is added) x a statistic (what is taken)."""
