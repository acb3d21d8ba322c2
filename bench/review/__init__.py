"""Judges finished runs: verifies one, compares two, joins several.

It must not know any model, and it prints nothing.
"""
