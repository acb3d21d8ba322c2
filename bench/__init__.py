"""The benchmark: profile, plan, stages, records, report."""
