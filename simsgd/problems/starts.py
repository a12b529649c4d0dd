"""Where parameters begin."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Zeros:
    """Parameters that begin at the origin."""

    dimensions: int

    def __call__(self, key: jax.Array) -> jax.Array:
        """Return them, shape (dimensions,)."""
        return jnp.zeros(self.dimensions)
