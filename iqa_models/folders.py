"""The one place that knows where made-once files of this user lie.

It must not know what they are.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``BENCH_CACHE``, else the user's cache folder of this program."""
    import platformdirs

    named = os.environ.get("BENCH_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("certified-iqa-bench")
