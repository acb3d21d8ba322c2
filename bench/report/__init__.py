"""Reports: a run's tables become one document object, and that becomes Markdown, PDF and HTML."""

from bench.report.build import ReportPaths, build, check
from bench.report.source import CellCount, FrameRun, RunTables, from_folder

__all__ = ["CellCount", "FrameRun", "ReportPaths", "RunTables", "build", "check", "from_folder"]
