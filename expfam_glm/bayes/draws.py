"""Random draws of a family as an operation in a PyTensor graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.random.op import RNGConsumerOp
from pytensor.tensor.random.utils import custom_rng_deepcopy

from expfam_glm.numerics.random import draw_at
from expfam_glm.spec.family import Family


class FamilyDraw(RNGConsumerOp):
    """(generator, μ, θ, a, shapes) → (generator, y), all parameters of one shape."""

    __props__ = ("family", "dtype")
    default_output = 1

    def __init__(self, family: Family, dtype: str) -> None:
        self.family = family
        self.dtype = dtype

    def __str__(self) -> str:
        return f"draws of {self.family.name}"

    def make_node(self, rng: Any, *parameters: Any) -> Apply:
        symbols = [pt.as_tensor(v) for v in parameters]
        static = [
            1 if all(v.type.broadcastable[k] for v in symbols) else None
            for k in range(symbols[0].type.ndim)
        ]
        return Apply(self, [rng, *symbols], [rng.type(), pt.tensor(dtype=self.dtype, shape=static)])

    def update(self, node: Apply) -> dict[Variable, Variable]:
        """The generator after the draws."""
        return {node.inputs[0]: node.outputs[0]}

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [None, pt.broadcast_shape(*shapes[1:], arrays_are_shapes=True)]

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        rng, mu, theta, a, *shapes = inputs
        rng = custom_rng_deepcopy(rng)
        named = dict(zip(self.family.shape, shapes, strict=True))
        outputs[0][0] = rng
        outputs[1][0] = np.asarray(draw_at(self.family, mu, theta, a, rng, **named), self.dtype)
