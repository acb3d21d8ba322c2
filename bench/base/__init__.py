"""What every room stands on: errors, whole files, the cache, devices, provenance.

It must not know that there is a benchmark.
"""
