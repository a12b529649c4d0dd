"""Nothing lost: a study's finished cells, tapes and checkpoints in a folder.

Laws of this package:

1. A cell is found by a key of all that its bits depend on (`keys`), and loads back equal to the bit.
2. Every file is written whole, under a name that says what it holds; a process that is killed loses what it had in hand.
3. Nothing is deleted but a checkpoint whose work is done. Stale cells stay; damaged files are set aside.
4. Any number of processes may use one folder; work done twice is the same twice.
5. JAX is not needed, and nothing is pickled.
"""

from simsgd.studies.store.checkpoints import Checkpoint
from simsgd.studies.store.explanation import Explanation
from simsgd.studies.store.folders import DamagedFileWarning
from simsgd.studies.store.index import DisagreementWarning
from simsgd.studies.store.keys import Described, NotStorableError, described, of_group
from simsgd.studies.store.store import Store

__all__ = [
    "Checkpoint",
    "DamagedFileWarning",
    "Described",
    "DisagreementWarning",
    "Explanation",
    "NotStorableError",
    "Store",
    "described",
    "of_group",
]
