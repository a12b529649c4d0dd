"""An optimizer for a model that is sent in fragments, one in turn: what was not sent stays as it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd.optimizers.tunable import Tunable, tunable
from simsgd.support import checks
from simsgd.support.pieces import borders


class InFragments(NamedTuple):
    """How many steps were made, and the state of the optimizer that they were made with."""

    steps: jax.Array
    optimizer: Any


def fragment_of(tree: Any, fragments: int) -> Any:
    """Return the fragment of each number of a tree of arrays: int32 arrays of its form.

    The numbers of all arrays stand in one row, in the order of the tree, and fragments are equal pieces of it, to one number.

    Raises:
        ValueError: if there are more fragments than numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> {name: leaf.tolist() for name, leaf in fragment_of({"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}, 3).items()}
        {'a': [0, 0, 0], 'b': [[1, 1], [2, 2]]}
    """
    leaves, structure = jax.tree.flatten(tree)
    sizes = [int(np.prod(np.shape(leaf))) for leaf in leaves]
    check(fragments, sum(sizes))
    starts = jnp.asarray(borders(sum(sizes), fragments)[1:-1], jnp.int32)
    found, begun = [], 0
    for leaf, size in zip(leaves, sizes, strict=True):
        place = (begun + jnp.arange(size, dtype=jnp.int32)).reshape(np.shape(leaf))
        found.append(jnp.sum(place[..., None] >= starts, axis=-1, dtype=jnp.int32))
        begun += size
    return jax.tree.unflatten(structure, found)


def check(fragments: int, numbers: int) -> None:
    """Raise ValueError unless so many numbers can be divided into so many fragments."""
    if fragments > numbers:
        raise ValueError(f"fragments must be at most as many as the model has numbers, {numbers:,}, got {fragments:,}")


def in_fragments(optimizer: optax.GradientTransformation, fragments: int) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer whose k-th step, k = 0, 1, …, is one of fragment k mod P alone.

    Numbers of other fragments, and whatever the optimizer remembers of them (all of its state that has the parameters' form),
    stay as they are. State: the number of steps, and the optimizer's.

    Source: Douillard et al. (2025), "Streaming DiLoCo with overlapping communication: towards a distributed free lunch",
    algorithm 2.

    Args:
        optimizer: what steps with a fragment.
        fragments: P, at least 1.

    Raises:
        TypeError, ValueError: for what is no optimizer, or no whole number of at least 1; when it begins, if there are more
            fragments than numbers.

    Example:
        >>> import jax.numpy as jnp, optax, simsgd as sg
        >>> rule = sg.optimizers.in_fragments(optax.sgd(1.0), fragments=2)
        >>> state = rule.init(jnp.zeros(2))
        >>> first, state = rule.update(jnp.array([4.0, 8.0]), state)
        >>> second, state = rule.update(jnp.array([4.0, 8.0]), state)
        >>> (first + 0.0).tolist(), (second + 0.0).tolist()
        ([-4.0, 0.0], [0.0, -8.0])
    """
    checks.instance("optimizer", optimizer, optax.GradientTransformation, "optax.sgd(0.7, momentum=0.9, nesterov=True)")
    whole, fragments = optax.with_extra_args_support(optimizer), checks.whole("fragments", fragments, 1)

    def init(params: Any) -> InFragments:
        return InFragments(jnp.zeros((), jnp.int32), whole.init(params))

    def update(updates: Any, state: InFragments, params: Any = None, **others: Any) -> tuple[Any, InFragments]:
        sent = jax.tree.map(lambda own: own == state.steps % fragments, fragment_of(updates, fragments))
        form = _form(updates)

        def kept(new: Any, old: Any) -> Any:
            return jax.tree.map(jnp.where, sent, new, old) if _form(new) == form else new

        steps, after = whole.update(updates, state.optimizer, params, **others)
        remembered = jax.tree.map(kept, after, state.optimizer, is_leaf=lambda node: _form(node) == form)
        return jax.tree.map(lambda s, step: jnp.where(s, step, 0), sent, steps), InFragments(state.steps + 1, remembered)

    return optax.GradientTransformationExtraArgs(init, update)


def _form(tree: Any) -> Any:
    return jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


def nesterov_in_fragments(learning_rate: float, momentum: float, fragments: int) -> optax.GradientTransformation:
    """Return what `fragment_nesterov` makes tunable."""
    return in_fragments(optax.sgd(learning_rate, momentum, nesterov=True), fragments)


def fragment_nesterov(step_size: float, momentum: float = 0.9, *, fragments: int) -> Tunable:
    """Return Nesterov momentum (see `nesterov`) whose k-th step is one of fragment k mod P alone (see `in_fragments`).

    State: the momentum, like the parameters, and the number of steps.

    Args:
        step_size: above 0.
        momentum: β, at least 0 and below 1.
        fragments: P, at least 1.

    Raises:
        ValueError: if one of them is out of its range; when it begins, if there are more fragments than numbers.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.fragment_nesterov(0.7, fragments=4)
        nesterov_in_fragments(learning_rate=0.7, momentum=0.9, fragments=4)
    """
    numbers = {
        "learning_rate": checks.positive("step_size", step_size),
        "momentum": checks.below_one("momentum", momentum),
    }
    return tunable(nesterov_in_fragments, **numbers, fragments=checks.whole("fragments", fragments, 1))
