"""A defence as a profile wants it: the one place where its options are set.

This module knows profiles and defences; it must not know what an option means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.base.errors import BenchError

if TYPE_CHECKING:
    from bench.plan.profile import Profile
    from defenses.base import Defense


def tuned(defense: Defense, profile: Profile) -> Defense:
    """The defence with the profile's options.

    Raises:
        BenchError: It has no such option.
    """
    try:
        return defense.tuned(profile.options.get(defense.name, {}))
    except ValueError as error:
        raise BenchError(f"profile {profile.name}: options.{defense.name}: {error}") from error
