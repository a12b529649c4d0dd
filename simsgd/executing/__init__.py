"""Work handed to executors: recordings and groups of cells, in this process, in threads, in processes, on a cluster.

Laws of this package:

1. Of an executor only `submit(function, *positional)` is relied upon, and of a future `done()`, `result()` and `cancel()`.
2. What is finished is handed over at once, and once: whatever happens later, to the executor too, it stays.
3. An error of a group is that group's own; the others go on. What an executor loses is told apart from it, and no failure.
4. It knows nothing of what it carries. It does not import JAX, so a process that only records never loads it.
"""

from simsgd.executing.parcels import SendingError
from simsgd.executing.scheduler import ExecutorError, Group, execute

__all__ = ["ExecutorError", "Group", "SendingError", "execute"]
