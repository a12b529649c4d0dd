"""A row of numbers in pieces, one after the other, whose sizes differ by one at most."""

from __future__ import annotations


def borders(numbers: int, pieces: int) -> tuple[int, ...]:
    """Return where the pieces of so many numbers begin, and where the last one ends: number k is in piece ⌊k·pieces/numbers⌋.

    Example:
        >>> borders(10, 4)
        (0, 3, 5, 8, 10)
    """
    return tuple(-(-piece * numbers // pieces) for piece in range(pieces + 1))
