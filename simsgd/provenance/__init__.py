"""Who a recording or a run is: everything that its bits depend on, written down, and a key of it.

Laws of this package:

1. Equal keys, equal bits: what could change a bit changes the key. The converse is not promised.
2. What cannot be identified is called unknown, by its place; an identity with something unknown equals no other.
3. A description has no memory address in it and depends on no process, and on no hash seed unless code holds a set of
   texts, or makes a set. It is plain JSON.
4. JAX is not needed.
"""

from simsgd.provenance.describing import describe
from simsgd.provenance.identity import Identity, canonical
from simsgd.provenance.tapes import ended, origin, plain, recording, verified

__all__ = ["Identity", "canonical", "describe", "ended", "origin", "plain", "recording", "verified"]
