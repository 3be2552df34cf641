"""A traced graph as the layers of tf_keras that stand for it, and where 8-bit arithmetic rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from keras_taylor._keras.program import Call, Tensor
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import UnsupportedModel
from keras_taylor.rules import TFKerasForm


@dataclass(eq=False)
class Node:
    """One tf_keras layer at one place of the graph.

    Attributes:
        call: the call that it comes from.
        slot: its number in the chain that stands for the call.
        form: what it is.
        before: the nodes it reads; None for an input of the model.
        readers: the nodes that read it; None for an output of the model.
    """

    call: Call
    slot: int
    form: TFKerasForm
    before: tuple[Node | None, ...]
    readers: list[Node | None] = field(default_factory=list)

    @property
    def alone(self) -> bool:
        """Whether it is a BatchNormalization that no kernel precedes."""
        (given,) = self.before if len(self.before) == 1 else (None,)
        return self.form.role == "norm" and not (given and given.form.role == "kernel" and len(given.readers) == 1)

    @property
    def rounds(self) -> bool:
        """Whether its outputs are rounded to 8 bits by a scale of their own: what LiteRT fuses is rounded once, at the end."""
        if self.form.scale != "own" or len(self.call.outputs) > 1 or "float" not in self.call.outputs[0].dtype:
            return False
        (reader,) = self.readers if len(self.readers) == 1 else (None,)
        if reader is None:
            return True
        if reader.form.role == "norm":
            return reader.alone
        return not (reader.form.role == "activation" and self.form.role in ("kernel", "norm", "sum"))


def lower(graph: ChannelGraph) -> list[Node]:
    """The nodes of a graph, in an order in which they can run.

    Raises:
        UnsupportedModel: an operation has weights and no tf_keras form.
    """
    made: dict[int, Node | None] = dict.fromkeys(tensor.index for tensor in graph.program.inputs)
    nodes: list[Node] = []
    for step in graph.steps:
        chain = step.rule.tf_keras_form(step.call.operation)
        if chain is None:
            raise UnsupportedModel(_refusal(step.call))
        before: tuple[Node | None, ...] = tuple(made[tensor.index] for tensor in step.call.inputs)
        for slot, form in enumerate(chain):
            node = Node(step.call, slot, form, before)
            for given in before:
                if given is not None:
                    given.readers.append(node)
            nodes.append(node)
            before = (node,)
        made.update((tensor.index, before[0]) for tensor in step.call.outputs)
    for tensor in graph.program.outputs:
        final = made[tensor.index]
        if final is not None:
            final.readers.append(None)
    return nodes


def chains(nodes: Sequence[Node]) -> dict[int, list[Node]]:
    """The chain of each call, by the call's id."""
    found: dict[int, list[Node]] = {}
    for node in nodes:
        found.setdefault(id(node.call), []).append(node)
    return found


def _refusal(call: Call) -> str:
    kind = type(call.operation).__name__
    shapes: list[Tensor] = list(call.inputs)
    return (
        f"Every layer of a model for quantization-aware training must have a tf_keras form. Received: {call.name!r} ({kind}), "
        f"on {', '.join(str(tensor.shape) for tensor in shapes)}, which has weights and none. Give it a rule with "
        "`tf_keras_form(self, operation)` (see kt.LayerRule), or use kt.Int8PTQ, which needs no such form."
    )
