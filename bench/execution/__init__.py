"""Makes the plan of a profile and hands its units to processes: progress, interruption, resume.

It must not know what a unit computes.
"""
