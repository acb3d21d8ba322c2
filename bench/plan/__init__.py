"""What is to be done: the profile of all settings, and the frozen cells and units of a run.

It must not know who carries them out.
"""
