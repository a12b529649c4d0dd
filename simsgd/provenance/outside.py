"""What a library's code answers from outside of the program: files, clocks, the machine, the interpreter. Tables of names.

Names are all that can be seen of code before it runs. So a module whose purpose is the outside is outside as a whole, but for
the innocent parts that are listed; and an attribute called as the ways to read a file or a clock are is taken for one.
"""

from __future__ import annotations

import builtins
import random
import sys
from typing import Any


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


BUILTINS = names("eval exec open input globals locals compile breakpoint __import__ id hash")
"""Builtins by which code comes to what no description holds."""
MODULES = names("""
    _io _thread asyncio atexit bz2 concurrent configparser contextvars ctypes curses dbm faulthandler fcntl fileinput ftplib
    gc genericpath getpass glob grp gzip http imaplib importlib inspect io linecache locale lzma mmap multiprocessing netrc nt
    ntpath os pathlib pickle pkgutil platform poplib posix posixpath pty pwd random readline resource runpy sched secrets select
    selectors shelve shutil signal site smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig syslog tarfile tempfile
    termios threading time timeit tracemalloc urllib uuid weakref webbrowser winreg xmlrpc zipfile zipimport zoneinfo
    """)
"""Python's modules whose purpose is what is outside, or state that all share."""
_OF_PATHS = "join split splitext splitdrive basename dirname normpath normcase isabs commonpath commonprefix sep pardir curdir"
INNOCENT = frozenset(
    [f"{module}.{name}" for module in ("os.path", "posixpath", "ntpath", "genericpath") for name in _OF_PATHS.split()]
    + ["os.fspath", "os._fspath", "posix.fspath", "os.sep", "os.PathLike", "io.StringIO.()", "io.BytesIO.()"]
    + [f"pathlib.{name}" for name in ("PurePath", "PurePosixPath", "PureWindowsPath")]
    + [f"pathlib._local.{name}" for name in ("PurePath", "PurePosixPath", "PureWindowsPath")]
    + [f"sys.{name}" for name in names("maxsize float_info int_info float_repr_style byteorder maxunicode version_info intern")]
    + ["time.struct_time", "urllib.parse", "uuid.UUID", "uuid.uuid3", "uuid.uuid5"]
)
"""Parts of them that compute from what they are given."""
NAMES = frozenset(
    [f"builtins.{name}" for name in BUILTINS]
    + [
        f"numpy.{name}"
        for name in names("load loadtxt genfromtxt fromfile fromregex memmap geterr get_printoptions DataSource")
    ]
    + [f"jax.{name}" for name in names("device_count devices local_device_count local_devices default_backend config")]
    + [f"jax.{name}" for name in names("process_count process_index live_arrays numpy.load numpy.fromfile")]
    + ["decimal.getcontext", "decimal.localcontext"]
)
"""Names of other modules that are outside."""
READERS = ("read_", "load", "fetch_", "open")
"""How the functions of packages begin that read files and the like."""
OF_NUMPY = ("Generator", "SeedSequence", "PCG64", "Philox", "BitGenerator")
"""What of `numpy.random` has no state of its own."""
ASKED = names("""
    read_text read_bytes readline readlines iterdir rglob scandir listdir lstat is_file is_dir is_symlink is_mount readlink
    expanduser samefile utcnow fromtimestamp astimezone getpid getppid getenv environ getcwd urandom loadtxt genfromtxt fromfile
    memmap read_csv read_parquet read_json read_excel read_pickle read_hdf read_sql read_table read_feather perf_counter
    monotonic process_time time_ns currentframe _getframe default_rng f_back f_locals f_globals __builtins__ __subclasses__
    """)
"""Attributes, of whatever object, that read what is outside."""
ASKED_IF_CALLED = names("now today open exists stat cwd home glob walk resolve absolute owner")
"""Attributes with everyday names: as methods alone, and of others than `self`."""
HELD = ("pathlib", "random", "uuid", "time", "numpy")
"""Modules whose objects are described by what they hold; what is asked of them is another matter."""


def outside(full: str) -> str:
    """Say that the name of something in a library, from its module on, stands for what no description holds; or nothing."""
    parts = full.split(".")
    beginnings = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    if full.startswith("numpy.random."):  # where private modules hold the classes of generators
        stateless = parts[2] in OF_NUMPY or parts[2].startswith("_") or parts[2] == "bit_generator"
        if not stateless or parts[-1] in ("()", "default_rng"):
            return f"{full.removesuffix('.()')} has a state of its own: draw from the rng that you are given"
    if any(each in NAMES for each in beginnings):
        return f"{full} depends on what is not described"
    if parts[0] in MODULES and not any(each in INNOCENT for each in beginnings):
        return f"{full} depends on what is not described"
    if parts[0] not in sys.stdlib_module_names and any(part.startswith(READERS) for part in parts[1:]):
        return f"{full} reads what is not described"
    return ""


def asked(attribute: str, called: bool) -> str:
    """Say that an attribute of an unknown object reads what is outside, or nothing."""
    found = attribute in ASKED or (called and attribute in ASKED_IF_CALLED)
    return f"{attribute} reads what is not described" if found else ""


def shared(thing: Any) -> str:
    """Say that an object is the state that all of a process share, or nothing."""
    drawing = sys.modules.get("numpy.random.mtrand")
    if thing is random._inst or (drawing is not None and thing is drawing._rand):
        return "a state of random numbers that all share: draw from the rng that you are given"
    return ""


def builtin(name: str) -> str:
    """Say that a builtin reaches out, or nothing."""
    return f"{name} reaches for what is not described" if name in BUILTINS and hasattr(builtins, name) else ""
