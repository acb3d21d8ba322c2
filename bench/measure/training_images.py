"""Which images a part is trained on: split by photograph; one that cannot be read is left out.

It knows data sets and the cache; it must not know what is trained, nor how a run records what was
left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.base.cache import Cache, content_key
from bench.datasets import Dataset, Item, select
from bench.datasets.base import ImageError

Parts = tuple[list[Item], list[Item]]
"""Training and validation items."""


def training_parts(
    data: Dataset, *, limit: int | None, seed: int, balance: Sequence[str] = ()
) -> Parts:
    """Training and validation items; whole photographs are held out if the set names none.

    Args:
        data: The data set.
        limit: Most training images; None takes all.
        seed: Of the choice, where there is one.
        balance: Further attributes that the choice spreads over.
    """
    chosen = select(data.items("train"), limit=limit, seed=seed, balance=balance)
    validation = list(data.items("validation"))
    if validation:
        return chosen, validation
    groups = sorted({item.group for item in chosen})
    # Every sixth photograph: enough to stop early, too few to cost accuracy.
    held_out = set(groups[::6]) if len(groups) > 1 else set()
    train = [item for item in chosen if item.group not in held_out]
    return train, [item for item in chosen if item.group in held_out]


def damaged(data: Dataset, items: Sequence[Item], store: Cache) -> dict[str, str]:
    """Why an item's pixels cannot be used, by image, for every item of which that is so.

    All items are read once for each content of the data set; later only the doubtful ones.
    """
    key = content_key(what="readable", dataset=data.sha256, items=[item.image_id for item in items])
    readable = store.array(key, lambda: np.array([trouble(data, i) is None for i in items], bool))
    doubtful = [item for item, fine in zip(items, readable, strict=True) if not fine]
    return {item.image_id: why for item in doubtful if (why := trouble(data, item)) is not None}


def trouble(data: Dataset, item: Item) -> str | None:
    """Why an item cannot be loaded; None if it can."""
    try:
        data.load(item)
    except ImageError as error:
        return str(error)
    return None
