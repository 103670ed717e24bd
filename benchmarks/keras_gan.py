"""The peers: GANs of 28x28 pictures in Keras, with TensorFlow or JAX; runs in .venv-peers, without ganvas.

    KERAS_BACKEND=tensorflow python benchmarks/keras_gan.py TASK

TASK is a JSON object with the fields of `Task`. With `times` the network trains, and pictures are written at these
times; without, it is a worker that trains when asked to (see tools.py). The five articles' layers are those of
docs/articles.md. `dcgan` is the common one (Radford et al. 2016; layers of TensorFlow's tutorial for MNIST; batch norm
in both players, weights from N(0, 0.02), as in PyTorch's example).
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from tools import serve

Z_DIM = 100


@dataclass(frozen=True)
class Task:
    """What to train, and how."""

    network: str
    images: str
    """A .npy file of uint8 [N, 28, 28, C]."""
    lr: float
    beta1: float
    beta2: float
    eps: float
    batch: int
    order: tuple[str, ...]
    """Who learns first in a step."""
    seed: int = 0
    precision: str = "float32"
    """Or mixed_bfloat16."""
    jit: bool = False
    """Whether TensorFlow compiles the step with XLA (JAX always does)."""
    times: tuple[float, ...] = ()
    """Seconds after the start at which pictures are written."""
    started: float = 0.0
    """When the parent started this process, in seconds since 1970."""
    n: int = 0
    """Pictures to write."""
    out: str = ""
    """The folder for them."""


# ----------------------------------------------------------------------------------------------- networks


def players(name: str, channels: int) -> tuple[list[Any], list[Any]]:
    """Return the layers of a generator, from z [N, 100], and of a discriminator, up to its logit."""
    weights = keras.initializers.RandomNormal(stddev=0.02) if name == "dcgan" else "glorot_uniform"
    conv = partial(layers.Conv2D, padding="same", kernel_initializer=weights)
    up = partial(layers.Conv2DTranspose, padding="same", kernel_initializer=weights)
    norm = partial(layers.BatchNormalization, momentum=0.9 if name == "dcgan" else 0.8)
    leaky, relu, double = partial(layers.LeakyReLU, 0.2), layers.ReLU, layers.UpSampling2D

    def start(width: int, bias: bool = True) -> list[Any]:
        dense = layers.Dense(7 * 7 * width, use_bias=bias, kernel_initializer=weights)
        return [dense, layers.Reshape((7, 7, width))]

    def mnist(stride: int) -> tuple[list[Any], list[Any]]:
        middle = [double(), conv(64, 5), norm(), relu(), double(), conv(32, 5), norm(), relu()]
        judge = [part for width in (32, 64, 128) for part in (conv(width, 5, strides=stride), leaky())]
        return [*start(128), relu(), *middle, conv(channels, 5, activation="tanh")], judge

    match name:
        case "article-dense":
            last = [double(4), conv(channels, 5, activation="sigmoid"), layers.Rescaling(2, -1)]
            return [*start(128), relu(), *last], [layers.Rescaling(0.5, 0.5), conv(64, 5), relu()]
        case "article-transpose":
            leaky = partial(layers.LeakyReLU, 0.3)
            middle = [up(128, 5), leaky(), up(64, 5, strides=2), leaky()]
            judge = [conv(64, 5, strides=2), leaky(), conv(128, 5, strides=2), leaky()]
            return [*start(256, False), leaky(), *middle, up(channels, 5, strides=2, activation="tanh")], judge
        case "article-upsample":
            middle = [double(), conv(128, 3), relu(), norm(), double(), conv(64, 3), relu(), norm()]
            judge = [part for width in (32, 64, 128) for part in (conv(width, 3), leaky(), layers.Dropout(0.25))]
            judge.insert(4, layers.ZeroPadding2D(((0, 1), (0, 1))))
            return [*start(128), leaky(), norm(), *middle, conv(channels, 3, activation="tanh")], judge
        case "article-mnist":
            return mnist(stride=1)
        case "article-mnist-strided":  # the articles' generator; a discriminator of stride 2
            return mnist(stride=2)
        case "article-colour":
            middle = [part for _ in range(2) for part in (up(128, 4, strides=2), leaky())]
            judge = [conv(64, 4, strides=2), leaky(), conv(128, 4, strides=2), leaky()]
            return [*start(128), leaky(), *middle, conv(channels, 4, activation="tanh")], judge
        case "dcgan":
            free = {"use_bias": False}  # batch norm has one
            middle = [up(128, 5, **free), norm(), leaky(), up(64, 5, strides=2, **free), norm(), leaky()]
            judge = [conv(64, 5, strides=2), leaky(), conv(128, 5, strides=2, **free), norm(), leaky()]
            last = up(channels, 5, strides=2, activation="tanh")
            return [*start(256, False), norm(), leaky(), *middle, last], judge
    raise ValueError(name)


class Gan:
    """The networks and the optimisers of a task."""

    def __init__(self, task: Task, channels: int) -> None:
        keras.utils.set_random_seed(task.seed)
        keras.config.set_dtype_policy(task.precision)
        generator, discriminator = players(task.network, channels)
        judge = [keras.Input((28, 28, channels)), *discriminator, layers.Flatten(), layers.Dense(1)]
        self.generator = keras.Sequential([keras.Input((Z_DIM,)), *generator])
        self.discriminator = keras.Sequential(judge)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimisers = {}
        for player, network in self.networks.items():
            self.optimisers[player] = keras.optimizers.Adam(task.lr, task.beta1, task.beta2, task.eps)
            self.optimisers[player].build(network.trainable_variables)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Return n pictures uint8 [n, 28, 28, C], in inference mode."""
        z = np.random.default_rng(seed).standard_normal((n, Z_DIM), np.float32)
        parts = [ops.convert_to_numpy(self.generator(z[i : i + 200], training=False)) for i in range(0, n, 200)]
        return np.clip(np.rint(np.concatenate(parts).astype(np.float32) * 127.5 + 127.5), 0, 255).astype(np.uint8)


# --------------------------------------------------------------------------------------------------- steps


def loss(player: str, real: Any, fake: Any) -> Any:
    """Binary cross-entropy of the logits; the generator's is the non-saturating one."""
    if player == "generator":
        return ops.mean(ops.softplus(-ops.cast(fake, "float32")))
    return ops.mean(ops.softplus(-ops.cast(real, "float32"))) + ops.mean(ops.softplus(ops.cast(fake, "float32")))


def tensorflow_step(gan: Gan, task: Task) -> Callable[[np.ndarray], None]:
    """Return a step of training on uint8 [batch, 28, 28, C] as one graph."""
    import tensorflow as tf

    generator, discriminator = gan.generator, gan.discriminator

    @tf.function(jit_compile=task.jit)
    def step(images: Any) -> Any:
        real = tf.cast(images, tf.float32) / 127.5 - 1
        total = tf.constant(0.0)
        for player in task.order:
            z = tf.random.normal((task.batch, Z_DIM))
            if player == "discriminator":
                fake = generator(z, training=True)
                with tf.GradientTape() as tape:
                    value = loss(player, discriminator(real, training=True), discriminator(fake, training=True))
            else:
                with tf.GradientTape() as tape:
                    value = loss(player, None, discriminator(generator(z, training=True), training=True))
            variables = gan.networks[player].trainable_variables
            gan.optimisers[player].apply(tape.gradient(value, variables), variables)
            total += value
        return total

    return lambda images: float(step(tf.constant(images)))


def jax_step(gan: Gan, task: Task) -> Callable[[np.ndarray], None]:
    """Return a step of training on uint8 [batch, 28, 28, C], compiled."""
    import jax

    networks, optimisers = gan.networks, gan.optimisers

    def call(player: str, weights: Any, state: Any, x: Any) -> tuple[Any, Any]:
        return networks[player].stateless_call(weights[player], state[player], x, training=True)

    def objective(mine: Any, player: str, weights: Any, state: Any, real: Any, z: Any) -> tuple[Any, Any]:
        weights, state = weights | {player: mine}, dict(state)
        fake, state["generator"] = call("generator", weights, state, z)
        scores = {}
        for name, images in (("real", real), ("fake", fake)):
            if player == "discriminator" or name == "fake":
                scores[name], state["discriminator"] = call("discriminator", weights, state, images)
        return loss(player, scores.get("real"), scores["fake"]), state

    @partial(jax.jit, donate_argnums=0)
    def step(kept: Any, images: Any, key: Any) -> tuple[Any, Any]:
        weights, state, moments = kept
        real = images.astype("float32") / 127.5 - 1
        total = 0.0
        for player, part in zip(task.order, jax.random.split(key), strict=True):
            z = jax.random.normal(part, (task.batch, Z_DIM))
            slope = jax.value_and_grad(objective, has_aux=True)
            (value, state), gradients = slope(weights[player], player, weights, state, real, z)
            mine, moments[player] = optimisers[player].stateless_apply(moments[player], gradients, weights[player])
            weights, total = weights | {player: mine}, total + value
        return (weights, state, moments), total

    kept: Any = (
        {player: [v.value for v in network.trainable_variables] for player, network in networks.items()},
        {player: [v.value for v in network.non_trainable_variables] for player, network in networks.items()},
        {player: [v.value for v in optimiser.variables] for player, optimiser in optimisers.items()},
    )
    key = jax.random.key(task.seed)

    def run(images: np.ndarray) -> None:
        nonlocal kept, key
        key, part = jax.random.split(key)
        kept, total = step(kept, images, part)
        float(total)  # waits

    return run


# ----------------------------------------------------------------------------------------------------- main


def train(gan: Gan, task: Task, step: Callable[[], int]) -> None:
    """Train until the last of the times; at each, write pictures and print when that was.

    The clock runs from the start of the process to the written pictures, without those written before.
    """
    elsewhere = images = 0
    print(json.dumps({"ready": time.time() - task.started}), flush=True)
    for number, end in enumerate(task.times):
        while not images or time.time() - task.started - elsewhere < end:
            images += step()
        begin = time.time()
        path = Path(task.out) / f"{number}.npy"
        np.save(path, gan.draw(task.n, task.seed))
        line = {"seconds": time.time() - task.started - elsewhere, "images": images, "file": path.name}
        print(json.dumps(line), flush=True)
        elsewhere += time.time() - begin


def main() -> None:
    """Do the task on the command line."""
    task = Task(**json.loads(sys.argv[1]))
    images = np.load(task.images)
    gan = Gan(task, images.shape[-1])
    advance = {"tensorflow": tensorflow_step, "jax": jax_step}[keras.backend.backend()](gan, task)
    random = np.random.default_rng(task.seed)

    def step() -> int:
        advance(images[random.integers(len(images), size=task.batch)])
        return task.batch

    if task.times:
        train(gan, task, step)
    else:
        serve(step)


if __name__ == "__main__":
    main()
