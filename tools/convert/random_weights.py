"""Seeded random weights scaled so that activations stay near unit size through a deep network.

Benchmarks and builds need the real shapes, not the real weights; but weights out of scale would give infinities in
FP16 or denormals that no real model has. Each tensor's values depend only on its name, never on the order of calls.
"""

import zlib

import numpy as np

# Standard deviation that keeps a unit-variance signal at unit variance through the activation that came before:
# 1 / sqrt(Var[f(x)]) for x ~ N(0, 1).
GAIN = {"linear": 1.0, "relu": 0.3408**-0.5, "silu": 0.3130**-0.5, "gelu": 0.3456**-0.5}


def normal(name, shape, std=1.0, mean=0.0):
    """float32 normal values; the same name and shape give the same values everywhere."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    values = generator.standard_normal(shape, np.float32)
    values *= np.float32(std)
    if mean:
        values += np.float32(mean)
    return values


def weight(name, shape, after="linear", scale=1.0):
    """A weight [out, in, ...] that reads the output of activation `after`.

    Such outputs have a positive mean. Each filter sums to zero, so that this mean does not grow from layer to layer
    until every picture looks the same to the network; in trained networks batch normalisation sees to that.
    """
    fan_in = int(np.prod(shape[1:]))
    values = normal(name, shape, scale * GAIN[after] / fan_in**0.5)
    if after != "linear":
        # In float64, where the order in which a processor adds does not show in the result.
        mean = values.mean(axis=tuple(range(1, len(shape))), keepdims=True, dtype=np.float64)
        values -= mean.astype(np.float32)
    return values


def bias(name, size):
    return normal(name, (size,), 0.05)
