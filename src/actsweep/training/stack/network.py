"""K networks of equal shape as one: every layer is one batched matrix product.

The members are Classifiers that network/build.py made one by one. They stay usable: once stacked, the parameters of
member k are views of row k, so that evaluating and watching it needs no copy.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actsweep.diagnostics.elementwise import slope
from actsweep.diagnostics.jacobian import jacobians
from actsweep.diagnostics.observation import Layer
from actsweep.network import activations
from actsweep.network.classifier import Classifier
from actsweep.training.stack.activating import Choosing, Way, choosing, way, works_in_place

Losses = Callable[[Tensor, Tensor], Tensor]
Statistics = Literal["of the batch", "of the batch, kept", "running"]  # by which batch norm normalises
RUNNING = ("running_mean", "running_var", "num_batches_tracked")


@dataclass
class Block:
    """One parameter of the members in `rows`: values (rows, …), and what an optimiser keeps for it in the same layout.

    A layer's weights are held as (rows, in, out): the gradients of the batched product then come out contiguous, and
    the optimiser goes through memory in order. `decays`: is a layer's weights, to which weight decay applies. `best`:
    the values of each member's best epoch.
    """

    name: str
    rows: slice
    values: Tensor
    is_matrix: bool
    decays: bool
    state: dict[str, Tensor] = field(default_factory=dict)
    best: Tensor | None = None

    def __contains__(self, row: int) -> bool:
        return self.rows.start <= row < self.rows.stop

    def of(self, row: int, values: Tensor) -> Tensor:
        """The parameter of member `row` in `values`, which have this block's layout, as the lone network has it."""
        mine = values[row - self.rows.start]
        return mine.t() if self.is_matrix else mine

    def copy_of(self, row: int, values: Tensor) -> Tensor:
        """The same, on its own."""
        return self.of(row, values).detach().clone(memory_format=torch.contiguous_format)

    def kept(self, rows: Sequence[int]) -> "Block | None":
        """The block of the members that stay, which are numbered anew; None if none of them has the parameter."""
        places = [place for place, row in enumerate(rows) if row in self]
        if not places:
            return None
        index = torch.tensor([rows[place] - self.rows.start for place in places], device=self.values.device)
        values = self.values.detach()[index].requires_grad_(self.values.requires_grad)
        state = {name: one[index] for name, one in self.state.items()}
        best = None if self.best is None else self.best[index]
        return replace(self, rows=slice(places[0], places[-1] + 1), values=values, state=state, best=best)


@dataclass(frozen=True)
class Span:
    """Neighbouring members with the same activation, and the module that computes it for all of them."""

    rows: slice
    activation: nn.Module
    learnt: tuple[str, ...]
    works_in_place: bool
    choosing: Choosing | None  # among numbers that masks pick
    way: Way | None  # in which it is applied with what each member learnt


def described(member: Classifier) -> str:
    """What members must share to have their activations computed in one call."""
    return json.dumps(member.hparams["network"]["act"], sort_keys=True)


class Stack:
    """The members' layers, batched. Members with equal activations should be neighbours: each span is one call."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        self.members = list(members)
        first = self.members[0].network
        self.stride = first.stride
        self.hidden = len(first.layers) // self.stride
        self.names = [f"layer_{number:02d}" for number in range(1, self.hidden + 2)]
        self.spans = self._spans()
        self.blocks = {(block.name, block.rows.start): block for block in self._blocks()}
        self.buffers = {}
        for name, _ in first.named_buffers():
            values = torch.stack([member.network.get_buffer(name) for member in self.members])
            self.buffers[name] = Block(name, slice(0, len(self)), values, is_matrix=False, decays=False)
        self.bind()

    def everything(self) -> list[Block]:
        """What is learnt, and batch norm's running statistics."""
        return [*self.blocks.values(), *self.buffers.values()]

    def __len__(self) -> int:
        return len(self.members)

    def _spans(self) -> list[Span]:
        spans = []
        for _, group in groupby(range(len(self.members)), key=lambda row: described(self.members[row])):
            rows = list(group)
            activation = activations.build(self.members[rows[0]].hparams["network"]["act"])
            learnt = tuple(name for name, _ in activation.named_parameters())
            in_place, mode = works_in_place(activation), choosing(activation)
            with mode or nullcontext():
                applied = way(activation, learnt) if learnt else None
            activations.cast(activation, self.members[rows[0]].network.taps()[0].linear.weight.dtype)
            spans.append(Span(slice(rows[0], rows[-1] + 1), activation, learnt, in_place, mode, applied))
        return spans

    def _blocks(self) -> Iterator[Block]:
        everyone = slice(0, len(self))
        decayed = {f"layers.{layer * self.stride}.weight" for layer in range(self.hidden + 1)}
        for span in self.spans:
            # What the activation learns belongs to the members that have it, everything else to all.
            learnt = {f"layers.{self._place(layer)}.{name}" for layer in range(self.hidden) for name in span.learnt}
            network = self.members[span.rows.start].network
            for name, parameter in network.named_parameters():
                if name in learnt or span is self.spans[0]:
                    is_matrix = name not in learnt and parameter.ndim == 2
                    rows = span.rows if name in learnt else everyone
                    each = [member.network.get_parameter(name).detach() for member in self.members[rows]]
                    values = torch.stack([one.t() if is_matrix else one for one in each]).contiguous()
                    yield Block(name, rows, values.requires_grad_(), is_matrix, name in decayed)

    def _place(self, layer: int) -> int:
        """Where the activation of a hidden layer, counted from 0, stands in MLP.layers."""
        return self.stride * (layer + 1) - 1

    def bind(self) -> None:
        """Make every member's parameters and buffers views of its row."""
        for block in self.everything():
            for row in range(block.rows.start, block.rows.stop):
                network = self.members[row].network
                own = network.get_buffer if block.name in self.buffers else network.get_parameter
                own(block.name).data = block.of(row, block.values.detach())

    def release(self, row: int) -> None:
        """Leave a member with copies of its own."""
        for own in (*self.members[row].parameters(), *self.members[row].buffers()):
            own.data = own.data.clone(memory_format=torch.contiguous_format)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all members but these."""
        kept = [block.kept(rows) for block in self.blocks.values()]
        buffers = [block.kept(rows) for block in self.buffers.values()]
        self.members = [self.members[row] for row in rows]
        self.spans = self._spans()
        self.blocks = {(block.name, block.rows.start): block for block in kept if block}
        self.buffers = {block.name: block for block in buffers if block}
        self.bind()

    def remember(self, rows: Sequence[int]) -> None:
        """Note the present weights of these members as their best."""
        for block in self.everything():
            if block.best is None:
                block.best = block.values.detach().clone()
            places = [row - block.rows.start for row in rows if row in block]
            index = torch.tensor(places, dtype=torch.int64, device=block.values.device)
            block.best.index_copy_(0, index, block.values.detach().index_select(0, index))

    def parameters(self) -> list[Tensor]:
        return [block.values for block in self.blocks.values()]

    def weights(self) -> list[Tensor]:
        """Each layer's weights, (K, out, in)."""
        return [self._shared(layer * self.stride, "weight").detach().mT for layer in range(self.hidden + 1)]

    def state_dict(self, row: int, best: bool = False) -> dict[str, Tensor]:
        """The weights of one member, its present or its best ones, named and laid out as its Classifier's; copies."""
        found = {}
        for block in self.everything():
            values = block.best if best else block.values
            if row in block and values is not None:
                found[f"network.{block.name}"] = block.copy_of(row, values)
        return {name: found[name] for name in self.members[row].state_dict()}

    def forward(self, x: Tensor, statistics: Statistics = "of the batch, kept") -> Tensor:
        """Inputs (N, D) that all members share, or (K, N, D) → outputs (K, N, O)."""
        return self.layers(x, statistics)[-1][0]

    def layers(self, x: Tensor, statistics: Statistics = "of the batch") -> list[tuple[Tensor, Tensor | None]]:
        """What enters and what leaves each layer's activation, (K, N, H); the output layer has none."""
        seen: list[tuple[Tensor, Tensor | None]] = []
        h = x.to(self._shared(0, "weight").dtype)
        for layer in range(self.hidden):
            first = layer * self.stride
            pre = self._linear(first, h)
            if self.stride == 3:
                pre = self._normed(first + 1, pre, statistics)
            h = self._activate(layer, pre)
            seen.append((pre, h))
        return [*seen, (self._linear(self.hidden * self.stride, h), None)]

    def _normed(self, place: int, pre: Tensor, statistics: Statistics) -> Tensor:
        weight, bias = self._shared(place, "weight"), self._shared(place, "bias")
        if not self.buffers:
            return F.layer_norm(pre, pre.shape[-1:]) * weight.unsqueeze(1) + bias.unsqueeze(1)
        mean, variance, batches = (self.buffers[f"layers.{place}.{name}"].values for name in RUNNING)
        running = (None, None) if statistics == "of the batch" else (mean.view(-1), variance.view(-1))
        if statistics == "of the batch, kept":
            batches.add_(1)
        units = pre.transpose(0, 1).flatten(1)  # (N, K · H): each member's units are channels of their own
        learnt = weight.view(-1), bias.view(-1)
        normed = F.batch_norm(units, running[0], running[1], *learnt, training=statistics != "running")
        return normed.view(pre.shape[1], len(self), -1).transpose(0, 1)

    def _shared(self, place: int, name: str) -> Tensor:
        return self.blocks[f"layers.{place}.{name}", 0].values

    def _linear(self, place: int, h: Tensor) -> Tensor:
        weight, bias = self._shared(place, "weight"), self._shared(place, "bias")
        h = h.expand(len(self), -1, -1) if h.ndim == 2 else h
        return torch.baddbmm(bias.unsqueeze(1), h, weight)

    def _activate(self, layer: int, pre: Tensor) -> Tensor:
        if len(self.spans) == 1:
            return self._activate_span(layer, self.spans[0], pre)
        # split and cat, not indexing: their backward passes touch each value once.
        parts = pre.split([span.rows.stop - span.rows.start for span in self.spans])
        outputs = [self._activate_span(layer, span, part) for span, part in zip(self.spans, parts, strict=True)]
        return torch.cat(outputs)

    def _activate_span(self, layer: int, span: Span, pre: Tensor) -> Tensor:
        if span.works_in_place:
            pre = pre.clone()  # the diagnostics look at it later, and it is a view
        learnt = {
            name: self.blocks[f"layers.{self._place(layer)}.{name}", span.rows.start].values for name in span.learnt
        }
        with span.choosing or nullcontext():
            return span.way(span.activation, learnt, pre) if span.way else span.activation(pre)

    def observe(self, x: Tensor, labels: Tensor, losses: Losses) -> list[Layer]:
        """Every layer of all members on one batch (N, D), as diagnostics/observation.py shows it for one network."""
        with torch.enable_grad():
            seen = self.layers(x)
            weights = [self._shared(layer * self.stride, "weight") for layer in range(self.hidden + 1)]
            total = losses(seen[-1][0], labels.expand(len(self), -1)).sum()
            gradients = torch.autograd.grad(total, weights, retain_graph=True, materialize_grads=True)
            found = zip(weights, gradients, seen, strict=True)
            return [
                self._layer(layer, weight.detach().mT, gradient.mT, *of)
                for layer, (weight, gradient, of) in enumerate(found)
            ]

    def differentiated(self, x: Tensor) -> list[Layer]:
        """Every layer with its Jacobian on inputs (N, D), as diagnostics/jacobian.py shows it for one network."""
        if self.buffers:  # of batch norm, by which an example's outputs depend on the others
            return []
        with torch.enable_grad():
            own = x.to(self._shared(0, "weight").dtype).repeat(len(self), 1, 1).requires_grad_()
            seen = self.layers(own)
            found = jacobians(seen[-1][0], [own, *(post for _, post in seen if post is not None)])
        layers = zip(self.names, self.weights(), found, strict=True)
        return [Layer(name, weight, None, None, jacobian=each) for name, weight, each in layers]

    def _layer(self, layer: int, weight: Tensor, gradient: Tensor, pre: Tensor, post: Tensor | None) -> Layer:
        name = self.names[layer]
        if post is None:
            return Layer(name, weight, gradient, pre.detach())
        if pre.shape != post.shape:  # as Maxout's: no function of one number, which all others in a stack are
            return Layer(name, weight, gradient, pre.detach(), post.detach())
        units = pre.shape[2] if any(span.learnt for span in self.spans) else 1  # each may have learnt its own
        grid = torch.linspace(-10, 10, 201, device=pre.device, dtype=pre.dtype).view(1, -1, 1)
        grid = grid.expand(len(self), -1, units).clone().requires_grad_()
        steepest = slope(grid, self._activate(layer, grid)).abs().amax(dim=(1, 2))
        return Layer(name, weight, gradient, pre.detach(), post.detach(), slope(pre, post), steepest)
