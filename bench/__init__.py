"""The benchmark: profile, plan, stages, records, report.

It must not know the paper's networks: rooms do the work, docs/architecture.md shows them.
"""
