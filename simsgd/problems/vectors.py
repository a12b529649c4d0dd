"""Where parameters begin, and how far they are from where they should be: for problems in a plain vector w."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Zeros:
    """Parameters that begin at the origin."""

    dimensions: int

    def __call__(self, key: jax.Array) -> jax.Array:
        """Return them, shape (dimensions,)."""
        return jnp.zeros(self.dimensions)


@dataclass(frozen=True)
class DistanceTo:
    """A metric: ‖w − optimum‖."""

    optimum: tuple[float, ...]

    def __call__(self, w: jax.Array, batch: Any) -> jax.Array:
        """Return it, whatever the batch."""
        distance: jax.Array = jnp.linalg.norm(w - jnp.asarray(np.array(self.optimum), w.dtype))
        return distance
