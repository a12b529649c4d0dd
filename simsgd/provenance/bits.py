"""The declared version of simsgd's bits: what a study's folder is keyed by, in place of a hash of simsgd's own code.

A hash of the code changes with every comment, and a study kept under it would be computed anew after each. So the bits have a
version that people declare. The rule: whoever changes simsgd such that any run or tape of the same description comes out with
other bits adds one to `BITS` in the same commit. The golden file (tests/golden/bits.json) is tied to it by a test; it has 42
configurations, and the rule holds for what it does not see as well.
"""

from __future__ import annotations

BITS = 2
"""The version of the bits that this simsgd computes."""
