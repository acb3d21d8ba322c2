"""A board that others can join: submissions written, verified and shown; none is executed.

It knows folders of records and what verifies them; it must not know models, images or plugins.
"""
