"""How many examples a property tries: all of them with the slow tests, a quarter by default."""

from hypothesis import settings

ALL = settings.get_profile("slow").max_examples


def examples(number: int) -> int:
    """The share of ``number`` that the profile in use has of all; at least five.

    Args:
        number: examples with ``--slow`` or ``--only-slow``.
    """
    return min(number, max(5, number * settings.default.max_examples // ALL))
