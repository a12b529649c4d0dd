"""The next character of a generated text, by a small transformer.

Law of this module: as in `ready_made`, functions are data, so that problems made twice are equal. The text comes from a grammar
and a seed, so it is the same everywhere and nothing is downloaded.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd.problems.making import remembered
from simsgd.problems.problem import Batch, Parameters, Problem
from simsgd.stopping import Target
from simsgd.support import checks, rng

GRAMMAR = {
    "sentence": ("noun verb-whole. ", "noun verb-whole, and noun verb-whole. ", "if noun verb-whole, then noun verb-whole. "),
    "noun": ("the thing", "the colour thing", "a thing", "a colour thing", "the thing that verb-whole"),
    "verb-whole": ("verb", "verb noun", "verb noun and noun", "place verb"),
    "thing": ("worker", "server", "message", "gradient", "model", "link", "cat", "river", "mountain", "bird", "child", "book"),
    "colour": ("small", "slow", "fast", "old", "green", "quiet", "heavy", "distant"),
    "verb": ("sees", "sends", "waits for", "follows", "carries", "finds", "forgets", "reads"),
    "place": ("often", "never", "in winter", "at night", "once a day"),
}
"""What each word of a grammar may become; a word that is not here stays. All are equally likely."""
CHARACTERS = " ,.abcdefghijklmnopqrstuvwxyz"
DEEPEST = 6
"""Below this depth words become the shortest that they may."""


@functools.lru_cache(maxsize=8)
@remembered
def characters(
    layers: int = 1, width: int = 32, heads: int = 4, context: int = 32, length: int = 65_536, batch_size: int = 16
) -> Problem:
    """Predict the next character of a generated English-like text, 29 different ones, with a small transformer.

    A sample is a stretch of the text, context + 1 characters; the loss is the mean of −log P(next character) over its places.
    The transformer has learned positions, and layers of causal attention and a GELU network of 4·width units, each behind
    root-mean-square normalisation and beside a residual connection. The last tenth of the text is held out.

    Args:
        layers: of attention and network each, at least 1.
        width: of what stands at each place, a multiple of `heads`.
        heads: of the attention.
        context: characters that a prediction may see, at least 1.
        length: of the text, in characters, at least 20·(context + 1).
        batch_size: stretches in one worker's batch.

    Metrics: "loss", "test_loss" (nats for a character), and "accuracy", the share of right predictions on held-out text.
    Target: accuracy ≥ 0.7.

    Raises:
        ValueError: if a number is outside its range.

    Source: Vaswani et al. (2017), "Attention is all you need", section 3, with normalisation before each part.

    Example:
        >>> import simsgd as sg
        >>> problem = sg.problems.characters(width=16, context=16, length=2000)
        >>> problem.parameter_count, problem.samples
        (3792, 106)
        >>> sg.problems.generated_text(60)
        'the gradient follows a heavy river and the mountain. the gre'
    """
    for name, value in (("layers", layers), ("heads", heads), ("context", context)):
        checks.whole(name, value, 1)
    if checks.whole("width", width, heads) % heads:
        raise ValueError(f"width must be a multiple of heads={heads}, got {width}")
    checks.whole("length", length, 20 * (context + 1))
    places = {character: place for place, character in enumerate(CHARACTERS)}
    text = np.array([places[character] for character in generated_text(length)], np.int32)
    stretches = text[: length - length % (context + 1)].reshape(-1, context + 1)
    tests = max(1, len(stretches) // 10)
    return Problem(
        name=f"characters, transformer of {layers} × {width}",
        init=_InitialTransformer(layers, width, context),
        loss=_NextCharacter(heads),
        data=stretches[:-tests],
        test_data=stretches[-tests:],
        batch_size=batch_size,
        metrics={"accuracy": _NextIsRight(heads)},
        target=Target("accuracy", at_least=0.7),
    )


def generated_text(length: int, seed: int = 0) -> str:
    """Return so many characters of sentences drawn from a small grammar: letters, spaces, commas and full stops.

    Args:
        length: in characters, at least 1.
        seed: names the draws.

    Example:
        >>> import simsgd as sg
        >>> sg.problems.generated_text(40)
        'the gradient follows a heavy river and t'
    """
    random, sentences, total = rng.stream(seed, "characters: text"), [], 0
    checks.whole("length", length, 1)
    while total < length:
        sentences.append(_written("sentence", random, 0))
        total += len(sentences[-1])
    return "".join(sentences)[:length]


def _written(word: str, random: np.random.Generator, depth: int) -> str:
    """Return what a word of the grammar becomes, with punctuation behind it."""
    bare = word.rstrip(".,")
    if bare not in GRAMMAR:
        return word
    choices = GRAMMAR[bare] if depth < DEEPEST else GRAMMAR[bare][:1]
    chosen = choices[int(random.integers(len(choices)))]
    return " ".join(_written(each, random, depth + 1) for each in chosen.split(" ")) + word[len(bare) :]


def transformer(parameters: Parameters, text: jax.Array, heads: int) -> jax.Array:
    """Return scores of the next character, shape (samples, places, characters).

    Args:
        parameters: "embedding" (characters, width), which is also the last layer, "position" (context, width), and "layers",
            a list of {"attention": (width, 3, width), "out": (width, width), "wide": (width, 4·width), "narrow": (4·width,
            width)}.
        text: numbers of characters, shape (samples, places), no more places than positions.
        heads: of the attention.
    """
    x = parameters["embedding"][text] + parameters["position"][: text.shape[1]]
    for layer in parameters["layers"]:
        q, k, v = jnp.moveaxis(jnp.einsum("...i,ito->...to", _normal(x), layer["attention"]), -2, 0)
        q, k, v = (part.reshape(*part.shape[:-1], heads, -1) for part in (q, k, v))
        x = x + jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ layer["out"]
        x = x + jax.nn.gelu(_normal(x) @ layer["wide"]) @ layer["narrow"]
    scores: jax.Array = _normal(x) @ parameters["embedding"].T
    return scores


def _normal(x: jax.Array) -> jax.Array:
    normal: jax.Array = x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return normal


@dataclass(frozen=True)
class _InitialTransformer:
    """Weights normal with variance 1/inputs, those behind a residual connection smaller by √(2·layers)."""

    layers: int
    width: int
    context: int

    def __call__(self, key: jax.Array) -> Parameters:
        keys = iter(jax.random.split(key, 2 + 4 * self.layers))
        w, behind = self.width, (2 * self.layers) ** -0.5

        def normal(*shape: int, scale: float = 1.0) -> jax.Array:
            return jax.random.normal(next(keys), shape) * np.float32(scale * shape[0] ** -0.5)

        return {
            "embedding": normal(len(CHARACTERS), w, scale=(len(CHARACTERS) / w) ** 0.5),
            "position": normal(self.context, w, scale=(self.context / w) ** 0.5),
            "layers": [
                {
                    "attention": normal(w, 3, w),
                    "out": normal(w, w, scale=behind),
                    "wide": normal(w, 4 * w),
                    "narrow": normal(4 * w, w, scale=behind),
                }
                for _ in range(self.layers)
            ],
        }


@dataclass(frozen=True)
class _NextCharacter:
    """Mean −log P(next character)."""

    heads: int

    def __call__(self, parameters: Parameters, text: Batch) -> jax.Array:
        scores = transformer(parameters, text[:, :-1], self.heads)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, text[:, 1:]))


@dataclass(frozen=True)
class _NextIsRight:
    """The share of places whose highest score is that of the character that follows."""

    heads: int

    def __call__(self, parameters: Parameters, text: Batch) -> jax.Array:
        scores = transformer(parameters, text[:, :-1], self.heads)
        right: jax.Array = scores.argmax(-1) == text[:, 1:]
        return right.mean(dtype=scores.dtype)
