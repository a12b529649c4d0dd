"""A plain, slow, obviously right replay: one gradient at a time in a Python loop, the whole history kept."""

import jax
import jax.numpy as jnp
import optax

from simsgd.support import rng


def play_slowly(tape, problem, optimizer, seed=0):
    """Return every version of the parameters, in float64, that a tape makes with an optax optimizer."""
    with jax.enable_x64(True):
        key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(seed, "batches")))
        data, _ = problem.arrays("float64")
        versions = [problem.start(seed, "float64")]
        optimizer = optax.with_extra_args_support(optimizer)
        state = optimizer.init(versions[0])
        gradient_of = jax.jit(jax.grad(problem.loss))
        collected = []
        for worker, job, read, weight, step in zip(*tape.rows, strict=True):
            job_key = jax.random.fold_in(jax.random.fold_in(key, int(worker)), int(job))
            picks = jax.random.randint(job_key, (problem.batch_size,), 0, problem.samples, jnp.int32)
            gradient = gradient_of(versions[read], taken(data, picks))
            collected.append((float(weight), gradient, len(versions) - 1 - int(read)))
            if step:
                total = jax.tree.map(lambda *leaves: sum(leaves), *(scaled(w, g) for w, g, _ in collected))
                staleness = sum(tau for *_, tau in collected) / len(collected)
                updates, state = optimizer.update(total, state, versions[-1], staleness=jnp.asarray(staleness))
                versions.append(optax.apply_updates(versions[-1], updates))
                collected = []
        return versions


def taken(data, picks):
    return jax.tree.map(lambda leaf: leaf[picks], data)


def scaled(weight, gradient):
    return jax.tree.map(lambda leaf: weight * leaf, gradient)
