"""What every ``dataset.toml`` says, whichever kind of data set it describes.

This module knows names and shares; it must not know how a data set is read.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bench.datasets.folder import SPLIT_SEED

Side = Annotated[int, Field(ge=2)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Description(BaseModel):
    """What every `dataset.toml` says; unknown settings are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """Short name in plans and records."""
    title: str
    licence: str
    citation: str
    test_share: Share = 0.2
    split_seed: int = SPLIT_SEED
    """Seed of the split, where no split column is named."""
