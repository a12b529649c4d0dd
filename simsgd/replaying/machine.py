"""What a run's bits depend on beyond what it is given: the device, the compiler's flags, JAX's settings, versions."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp

from simsgd.provenance import surroundings
from simsgd.support.environment import UnfitProcessError

VARIABLES = (
    "NPROC",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
    "TF_CUDNN_DETERMINISTIC",
    "LIBTPU_INIT_ARGS",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
)
"""Variables of the environment, beside XLA_FLAGS, by which the libraries below JAX are told to compute otherwise."""
WRITING = ("--xla_dump", "--xla_hlo_profile")
"""How flags of the compiler begin that write files and change no program."""
REPRODUCIBLE = ("--xla_gpu_autotune_level=0", "--xla_gpu_deterministic_ops=true")
"""Flags with which a GPU's kernels are not chosen anew, by their speed, in each process."""
NO_BITS = re.compile(
    "log|dump|traceback|cache|transfer|transport|mtls|timeout|visible_devices|proxy|leak|profil|report|frames|distributed"
    "|preemption|recoverab|guard|check|source|pprint|serializ|export|platform|pgle_|raise_|no_execution|no_tracing|collectives"
    "|share_binary|warn|jax2tf|topology|mock|backend|sort_devices|enable_x64|threefry_partitionable|verbose|locations|debug_|cpp"
    "|error_checking|legacy_prng_key|default_device|async_dispatch"
)
"""Settings of JAX that change no bit: they say what is written down, refused, kept or sent; or the player sets them itself."""


def here() -> dict[str, Any]:
    """Return all that decides the bits of a run beside its tape and what it is given."""
    return {**_lasting(), "settings": settings()}


def is_cpu() -> bool:
    """Say whether the device is a CPU, which several threads may keep busy."""
    return jax.default_backend() == "cpu"


class MissingDevicesError(UnfitProcessError, ValueError):
    """More devices are asked for than the process has."""


def check_devices(wanted: int) -> None:
    """Raise MissingDevicesError if this process has fewer devices than are wanted.

    Example:
        >>> from simsgd.replaying import machine
        >>> machine.check_devices(1)
    """
    there = jax.device_count()
    if wanted > there:
        raise MissingDevicesError(
            f"devices={wanted}, but this process has {there} ({jax.default_backend()}): ask for no more, or, on a CPU, set "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={wanted} before JAX starts"
        )


def settings() -> dict[str, str]:
    """Return JAX's settings that may change bits, as they are now; those that nobody knows are among them."""
    return {name: str(value) for name, value in sorted(jax.config.values.items()) if _counts(name)}


@functools.cache
def _counts(setting: str) -> bool:
    return not NO_BITS.search(setting)


@functools.cache
def _lasting() -> dict[str, Any]:
    """Return what was settled when the process first used the device."""
    device = next(iter(jnp.zeros(()).devices()))
    flags = compiler_flags(os.environ.get("XLA_FLAGS", ""))
    about: dict[str, Any] = {
        "platform": device.platform,
        "kind": device.device_kind,
        "software": device.client.platform_version,
    }
    if device.platform == "cpu":  # some sums, such as a convolution's gradient, are split among as many threads
        about["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    else:
        about["libraries"] = _libraries()
    if device.platform == "gpu" and not set(REPRODUCIBLE) & set(flags):
        about["kernels"] = {"unknown": f"they are chosen by their speed in each process: set XLA_FLAGS={REPRODUCIBLE[0]}"}
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return {
        "versions": surroundings.versions("numpy", "jax", "jaxlib", "optax"),
        "code": surroundings.own_code(),
        **surroundings.processor(),
        "device": about,
        "compiler's flags": flags,
        "device's variables": variables,
    }


def compiler_flags(text: str) -> list[str]:
    """Return the compiler's flags in the order of their names, of those given twice the last, but for those that only write.

    Args:
        text: XLA_FLAGS; if it does not begin with a dash it is the name of a file with flags, as it is to XLA.

    Example:
        >>> from simsgd.replaying.machine import compiler_flags
        >>> compiler_flags("--xla_dump_to=here --xla_b=2 --xla_a --xla_b=1")
        ['--xla_a', '--xla_b=1']
    """
    if text.strip() and not text.lstrip().startswith("-"):
        file = pathlib.Path(text.strip())
        text = file.read_text() if file.is_file() else ""
    last = {flag.partition("=")[0]: flag for flag in text.split()}
    return sorted(flag for flag in last.values() if not flag.startswith(WRITING))


def _libraries() -> dict[str, str]:
    """Return the versions of what an accelerator's maker adds."""
    found = {str(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    return {name: found[name] for name in sorted(found) if re.match("nvidia-|jax-|jax_|libtpu|rocm", name)}
