"""Everything that decides a recorded number; this room is the digest of the code.

It must not know journals, progress, or which process it runs in.
"""
