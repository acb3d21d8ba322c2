"""The only network: gets published weights and data sets, with checksums.

It must not know any run.
"""
