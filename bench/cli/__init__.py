"""The command line: one file for each verb, with its options, its help and what it prints.

It computes nothing.
"""
