"""Six image-quality models behind one contract: image -> features -> score."""

from iqa_models.registry import ModelPlugin, UnknownModelError, load, names, plugin

__all__ = ["ModelPlugin", "UnknownModelError", "load", "names", "plugin"]
