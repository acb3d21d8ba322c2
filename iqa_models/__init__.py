"""Six image-quality models behind one contract: image -> features -> score.

This package knows networks and their published files; it must not know noise, defences, data sets
or records.
"""

from iqa_models.plugin import ModelPlugin, UnknownModelError, load, model_plugin, names

__all__ = ["ModelPlugin", "UnknownModelError", "load", "model_plugin", "names"]
