"""Reports: a run's tables become one document object, and that becomes Markdown, PDF and HTML.

This room knows words, tables, figures and formats; it must not know a live run.
"""

from bench.analysis.source import FrameRun, from_folder
from bench.report.build import ReportPaths, build, check

__all__ = ["FrameRun", "ReportPaths", "build", "check", "from_folder"]
