"""Makes the weights and heads that are shipped or trained here, each by one command.

It must not know runs or records.
"""
