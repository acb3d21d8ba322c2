"""Data sets: scored images, with or without pristine references, behind one contract.

They must not know plans, models' heads or defences.
"""

from bench.datasets.base import Dataset, DatasetCard, ImageError, Item, Pair, Split, select

__all__ = ["Dataset", "DatasetCard", "ImageError", "Item", "Pair", "Split", "select"]
