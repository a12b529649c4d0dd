"""What a recording's bits depend on beyond what it is given: versions, the processor, the C library, NumPy's choice of code.

NumPy computes powers, logarithms and exponentials with the C library, or with code of its own chosen by the processor's
features, so laws that use them (a Weibull's, a lognormal's) draw other bits where these differ.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import re
from typing import Any

import simsgd

VARIABLES = ("GLIBC_TUNABLES", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES")
"""Variables of the environment by which the C library is told to compute otherwise, or is replaced."""
ARITHMETIC = re.compile(r"avx|sse|ssse|fma|f16c|bmi|amx|neon|asimd|sve|fp$|fphp|abm|popcnt|^v$|vsx|zvfh")
"""The processor's features that decide how numbers are computed; the others come and go with the kernel."""


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, simsgd and further packages.

    Example:
        >>> from simsgd.provenance import surroundings
        >>> sorted(surroundings.versions("numpy"))
        ['numpy', 'python', 'simsgd']
    """
    found = {name: _version(name) for name in packages}
    return {"python": f"{platform.python_implementation()} {platform.python_version()}", "simsgd": simsgd.__version__} | found


@functools.cache
def _version(package: str) -> str:
    return importlib.metadata.version(package)


@functools.cache
def of_recordings() -> dict[str, Any]:
    """Return all that decides the bits of a recording beside what it is given; found out once in a process."""
    return {"versions": versions("numpy", "simpy"), "code": own_code(), **processor()}


@functools.cache
def own_code() -> str:
    """Return the SHA-256 (hexadecimal) of simsgd's own files but those of pictures: a checkout changes without its version."""
    folder, found = pathlib.Path(simsgd.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("plots/"):
            found.update(f"{name} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


@functools.cache
def processor() -> dict[str, Any]:
    """Return the machine, its processor's features, the C library and NumPy's choice among its own codes."""
    from numpy._core._multiarray_umath import __cpu_features__ as chosen

    library = " ".join(platform.libc_ver()).strip() or platform.mac_ver()[0] or platform.win32_ver()[1]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "c library": library or {"unknown": "the C library does not say its version"},
        "processor": _features(),
        "numpy's features": " ".join(sorted(name for name, used in chosen.items() if used)),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _features() -> dict[str, Any]:
    """Return the processor's name and its features for arithmetic, from Linux's /proc/cpuinfo, or what Python knows."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return {"model": platform.processor() or {"unknown": "the processor does not say what it is"}}
    said: dict[str, str] = {}
    for name, _, value in lines:  # of the first core: the others are taken to be the same
        said.setdefault(name.strip(), value.strip())
    flags = (said.get("flags") or said.get("Features") or said.get("features") or "").split()
    model = " ".join(said[name] for name in ("model name", "cpu family", "model", "CPU part", "uarch") if name in said)
    return {
        "model": model or platform.processor() or {"unknown": "the processor does not say what it is"},
        "features": " ".join(sorted(flag for flag in flags if ARITHMETIC.search(flag))),
    }
