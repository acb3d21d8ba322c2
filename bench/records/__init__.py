"""What was measured, as rows: their columns, the journal, Parquet, the folder of a run.

It must not know how a result is made.
"""
