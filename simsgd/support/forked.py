"""A process forked after JAX had started hangs at its first computation: it is told so before.

`fork` copies a process without its threads, and JAX computes in threads of its own. It is the default of `multiprocessing` on
Linux up to Python 3.13. Recordings need no JAX and work in such a process.
"""

from __future__ import annotations

import os
import sys

from simsgd.support.environment import UnfitProcessError


class ForkedProcessError(UnfitProcessError):
    """JAX cannot compute in a process that was forked after it had started; the message says how to start another kind."""


_forked_with_jax = False
_used = False
"""Whether something that may start JAX was allowed in this process."""


def check() -> None:
    """Raise ForkedProcessError in a process that was forked after JAX had started; to be called before JAX is used.

    Example:
        >>> from simsgd.support import forked
        >>> forked.check()
    """
    global _used
    if _forked_with_jax:
        raise ForkedProcessError(
            "this process was forked after JAX had started, and would hang at its first computation: start processes by "
            '"spawn", for example concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) or '
            'multiprocessing.get_context("spawn").Pool(), and in a script below if __name__ == "__main__":. Recordings '
            "(sg.record) need no JAX, and work here too"
        )
    _used = True


def jax_has_started() -> bool:
    """Say whether JAX has threads in this process, by its own account, or else because this library may have used it."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    started = getattr(bridge, "backends_are_initialized", None)  # not a public function: it may go
    return bool(started()) if started else _used


def _after_fork() -> None:
    global _forked_with_jax
    _forked_with_jax = _forked_with_jax or jax_has_started()


if hasattr(os, "register_at_fork"):  # where processes can be forked
    os.register_at_fork(after_in_child=_after_fork)
