"""JAX's persistent compilation cache, switched on by one line and never silently."""

from __future__ import annotations

import os
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from simsgd.support import checks


def compilation_cache(folder: str | os.PathLike[str] | None) -> None:
    """Keep what JAX compiles in a folder, from which later processes load it instead of compiling anew.

    It saves a process most of what comes before its first gradient: for a new problem, optimizer or shape some seconds on a
    CPU. The bits are those of the executable, which is the same one. It is a setting of JAX for the whole process, and
    everything that the process compiles is kept.

    Keep a folder for each kind of machine, delete it at will, and share it with nobody whom you would not let run code on
    your machine: what is loaded is executed.

    Args:
        folder: where to keep it, made if need be; None switches it off again.

    Raises:
        TypeError: if `folder` is no path. OSError: if it cannot be made.

    Source: the persistent compilation cache of JAX, `jax_compilation_cache_dir`, for executables of any size and compile time.

    Example:
        >>> import tempfile, simsgd as sg
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sg.compilation_cache(folder)
        ...     sg.compilation_cache(None)
    """
    if folder is not None:
        checks.instance("folder", folder, (str, os.PathLike), '"compiled"')
        os.makedirs(folder, exist_ok=True)
    config: Any = jax.config  # whose functions have no types
    config.update("jax_compilation_cache_dir", None if folder is None else os.fspath(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", 0)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax_cache.reset_cache()  # JAX looks for a folder only once, when it first compiles
