"""The suite from Python: what the verbs of the command line do, as functions that return values.

It knows how the rooms below are asked; it must not know options, terminals or how anything is
printed.  Its public names are those of :mod:`bench`.
"""
