"""Six image-quality models behind one contract: image -> features -> score."""

from iqa_models.plugin import ModelPlugin, UnknownModelError, load, names, plugin

__all__ = ["ModelPlugin", "UnknownModelError", "load", "names", "plugin"]
