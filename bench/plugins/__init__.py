"""Finds parts by name: ours, installed packages', and single files of a user.

It must not know what a part does.
"""
