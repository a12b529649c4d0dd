"""Parts of methods that the tests of composition put together: small ones of each kind, as a paper or a user would write them.

They stand at the top level of a module, so that methods made of them pickle.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

import simsgd as sg


@dataclass(frozen=True)
class LocalSGD(sg.Work):
    """H local steps with an inner optimizer; the message is how far the model went.

    Source: McMahan et al. (2017), "Communication-efficient learning of deep networks from decentralized data".
    """

    steps: int = 3
    step_size: float = 0.05
    momentum: float = 0.5

    def run(self, parameters, state, job):
        inner = optax.sgd(self.step_size, self.momentum)

        def step(k, so_far):
            model, inner_state = so_far
            updates, inner_state = inner.update(job.gradient(model, k), inner_state, model)
            return optax.apply_updates(model, updates), inner_state

        end, _ = jax.lax.fori_loop(0, job.steps, step, (parameters, inner.init(parameters)))
        return jax.tree.map(jnp.subtract, parameters, end), state


@dataclass(frozen=True)
class FullGradient(sg.Work):
    """The gradient on all samples, which takes as long as so many batches."""

    steps: int = 4

    def run(self, parameters, state, job):
        return job.full_gradient(parameters), state


@dataclass(frozen=True)
class LooplessSVRG(sg.Work):
    """∇f_b(w) − ∇f_b(anchor) + ∇f(anchor), two local steps a job; with probability p the anchor moves to w.

    Source: Kovalev, Horváth and Richtárik (2020), "Don't jump through hoops and remove those loops", algorithm 1.
    """

    steps: int = 2
    probability: float = 0.3

    def init(self, parameters):
        return {"anchor": parameters, "full": jax.tree.map(jnp.zeros_like, parameters), "jobs": jnp.int32(0)}

    def run(self, parameters, state, job):
        moves = (state["jobs"] == 0) | (jax.random.uniform(job.key) < self.probability)
        anchor = jax.tree.map(lambda new, old: jnp.where(moves, new, old), parameters, state["anchor"])
        full = jax.tree.map(lambda new, old: jnp.where(moves, new, old), job.full_gradient(anchor), state["full"])
        message = jax.tree.map(lambda g, h, f: g - h + f, job.gradient(parameters), job.gradient(anchor), full)
        return message, {"anchor": anchor, "full": full, "jobs": state["jobs"] + 1}


@dataclass(frozen=True)
class SparseGradient(sg.Work):
    """One gradient of which a share of the numbers is sent, each with its place (4 bytes)."""

    share: float = 0.25

    def bytes_up(self, message_bytes):
        return self.share * 2 * message_bytes

    def run(self, parameters, state, job):
        return job.gradient(parameters), state


WORKS = {"gradient": None, "local": LocalSGD(), "full": FullGradient(), "svrg": LooplessSVRG(), "sparse": SparseGradient()}


def top_k(share):
    """Send the largest numbers of what was not yet sent, and keep the rest for later (error feedback).

    Source: Stich, Cordonnier and Jaggi (2018), "Sparsified SGD with memory", algorithm 1.
    """

    def update(updates, rest, params=None, **others):
        whole = jax.tree.map(jnp.add, updates, rest)

        def largest(leaf):
            kept = max(1, int(share * leaf.size))
            return jnp.where(jnp.abs(leaf) >= jnp.sort(jnp.abs(leaf).ravel())[-kept], leaf, 0)

        sent = jax.tree.map(largest, whole)
        return sent, jax.tree.map(jnp.subtract, whole, sent)

    return optax.GradientTransformationExtraArgs(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def noisy(scale):
    """Add noise by the job's own key: a worker that protects its data, or rounds at random."""

    def update(updates, state, params=None, *, key, worker, job, steps, **others):
        leaves, tree = jax.tree.flatten(updates)
        keys = jax.random.split(key, len(leaves))
        noise = [scale * jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        by = (1 + worker * 0.1 + job * 0.01 + steps * 0.001).astype(leaves[0].dtype)
        return jax.tree.unflatten(tree, [leaf + by * n for leaf, n in zip(leaves, noise, strict=True)]), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def drifting(decay):
    """Pull the message towards the parameters that were read: uses `params` at the worker."""

    def update(updates, state, params=None, **others):
        return jax.tree.map(lambda u, p: u + decay * p, updates, params), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def slower_with_each_job():
    """Damp a worker's messages by how many each of the workers, as far as it knows, has sent: only itself."""

    def update(updates, sent, params=None, *, worker, **others):
        return jax.tree.map(lambda u: u / (1 + 0.1 * sent[worker]).astype(u.dtype), updates), sent.at[worker].add(1)

    return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(sg.optimizers.worker_count()), update)


AT_WORKER = {
    "nothing": None,
    "momentum": optax.trace(0.7),
    "top-k": top_k(0.4),
    "noise": noisy(0.01),
    "counted": slower_with_each_job(),
    "clipped momentum": optax.chain(optax.clip_by_global_norm(1.0), optax.trace(0.5), drifting(0.1)),
}


def compensated(strength):
    """G + λ g⊙g⊙(w − w_read). Source: Zheng et al. (2017), "Asynchronous SGD with delay compensation", equation 5."""

    def update(updates, state, params=None, *, parameters_read, **others):
        return jax.tree.map(lambda g, w, r: g + strength * g * g * (w - r), updates, params, parameters_read), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def table():
    """The mean of each worker's newest message. Source: Gu et al. (2021), "Fast federated learning by MIFA", algorithm 1."""

    def init(params):
        workers = sg.optimizers.worker_count()
        return jax.tree.map(lambda leaf: jnp.zeros((workers, *leaf.shape), leaf.dtype), params)

    def update(updates, state, params=None, *, worker, workers, **others):
        state = jax.tree.map(lambda rows, g: rows.at[worker].set(g), state, updates)
        return jax.tree.map(lambda rows: rows.sum(axis=0) / workers, state), state

    return optax.GradientTransformationExtraArgs(init, update)


def by_all_that_is_offered(power):
    """Damp by staleness, and a little by everything else that the server offers."""

    def update(updates, state, params=None, *, staleness, worker, workers, job, version, parameters_read, **others):
        by = (1 + staleness) ** -power + (0.01 * worker + 0.001 * job + 0.0001 * version + 0.1 * others["steps"]) / workers
        by += 0.01 * (others["kind"] + others["block"] / others["blocks"] + jax.random.uniform(others["key"]))
        moved = optax.tree.sub(params, parameters_read)
        return jax.tree.map(lambda u, d: u * by.astype(u.dtype) + 0.1 * d, updates, moved), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


ON_MESSAGE = {
    "nothing": None,
    "all arguments": by_all_that_is_offered(0.5),
    "compensated": compensated(0.5),
    "momentum of each": sg.optimizers.per_worker(optax.trace(0.5)),
    "table": table(),
    "chain": optax.chain(sg.optimizers.scale_by_staleness(0.5), optax.clip_by_global_norm(1.0), compensated(0.2)),
}


def ahead(by):
    """Hand out the model a little way on: by what the server remembers of messages, where that has the model's shapes."""

    def update(updates, state, params=None, *, message_state, **others):
        if jax.tree.structure(message_state) == jax.tree.structure(updates):
            return jax.tree.map(lambda w, v: w - by * v.sum(axis=0), updates, message_state), state
        return jax.tree.map(lambda w: (1 - by) * w, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


HAND_OUT = {"the model": None, "ahead": ahead(0.02), "chain": optax.chain(ahead(0.02), optax.scale(0.99))}
OPTIMIZERS = {
    "sgd": sg.optimizers.sgd(0.05),
    "adam": optax.adam(0.02),
    "stale momentum": optax.chain(sg.optimizers.scale_by_staleness(), optax.sgd(0.05, momentum=0.5)),
}


def method_of(
    protocol, work="gradient", at_worker="nothing", on_message="nothing", hand_out="the model", optimizer="sgd", **rest
):
    """Return a method of parts by their names."""
    if WORKS[work] is not None:
        rest["work"] = WORKS[work]
    return sg.Method(
        protocol,
        OPTIMIZERS[optimizer],
        at_worker=AT_WORKER[at_worker],
        on_message=ON_MESSAGE[on_message],
        hand_out=HAND_OUT[hand_out],
        **rest,
    )
