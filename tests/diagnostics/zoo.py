"""Small networks as people have them: how one is made, what it takes, and what its layers are known to go through."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint
from torchvision.models import VisionTransformer

from tests.diagnostics.zoo_parts import (
    Entry,
    Lora,
    Matrix,
    Of,
    Own,
    Raw,
    StraightThrough,
    averaged,
    batch_norm_by_hand,
    beside_inference,
    frozen,
    gelu,
    gelu_by_hand,
    in_many_steps,
    layer_norm_by_hand,
    masked_in_place,
    mobilenet,
    nested,
    normed,
    penalised,
    quantisation_aware,
    relu,
    resnet,
    rms_norm_by_hand,
    routed,
    sorted_in_pairs,
    swish,
    through_cell,
    tied,
    transformer,
    two,
    unet,
    unrolled,
    vgg,
)

IMAGE = (1, 8, 8)
ZOO = {
    "module": Entry(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), follows={"0": relu, "2": None}),
    "inplace module": Entry(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)), follows={"0": relu}
    ),
    "functions in a Sequential": Entry(
        lambda: nn.Sequential(nn.Linear(4, 6), Own(F.relu), nn.Linear(6, 3)), follows={"0": relu}
    ),
    "F.relu": Entry(lambda: two(F.relu), follows={"a": relu, "b": None}),
    "torch.tanh": Entry(lambda: two(torch.tanh), follows={"a": lambda x: 2 * torch.sigmoid(2 * x) - 1}),
    "a method": Entry(lambda: two(lambda x: x.relu()), follows={"a": relu}),
    "a method in place": Entry(lambda: two(lambda x: x.relu_()), follows={"a": relu}),
    "an operator": Entry(lambda: two(lambda x: x * (x > 0)), follows={"a": relu}),
    "assignment to places": Entry(lambda: two(masked_in_place), follows={"a": relu}),
    "several operators": Entry(lambda: two(swish), follows={"a": swish}),
    "GELU by hand": Entry(lambda: two(gelu_by_hand), follows={"a": gelu_by_hand}),
    "a class of one's own": Entry(
        lambda: nn.Sequential(nn.Linear(4, 6), Own(swish), nn.Linear(6, 3)), follows={"0": swish}
    ),
    "squared ReLU": Entry(lambda: two(lambda x: F.relu(x).square()), follows={"a": lambda x: relu(x) ** 2}),
    "dropout behind": Entry(lambda: two(lambda x: F.dropout(F.relu(x), 0.5)), follows={"a": relu}),
    "dropout before": Entry(lambda: two(lambda x: F.relu(F.dropout(x, 0.5))), follows={"a": relu}),
    "PReLU per unit": Entry(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 3)),
        follows={"0": lambda x: torch.where(x > 0, x, 0.25 * x)},
    ),
    "layer norm": Entry(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)), follows={"0": torch.tanh}
    ),
    "tokens": Entry(lambda: averaged(body=two(F.relu), head=nn.Linear(3, 3)), (5, 4), {"body.a": relu}),
    "one ReLU for all": Entry(
        lambda: Of(
            lambda s, x: s.c(s.act(s.b(s.act(s.a(x))))),
            a=nn.Linear(4, 6),
            act=nn.ReLU(),
            b=nn.Linear(6, 5),
            c=nn.Linear(5, 3),
        ),
        follows={"a": relu, "b": relu, "c": None},
    ),
    "one layer twice": Entry(
        lambda: Of(lambda s, x: s.b(torch.relu(s.a(torch.relu(s.a(x))))), a=nn.Linear(4, 4), b=nn.Linear(4, 3)),
        follows={"a": relu},
    ),
    "convolution and batch norm": Entry(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3)
        ),
        IMAGE,
        {"0": relu},
    ),
    "pooling before": Entry(
        lambda: Of(
            lambda s, x: s.b(F.relu(F.max_pool2d(s.a(x), 2)).flatten(1)), a=nn.Conv2d(1, 4, 3), b=nn.Linear(36, 3)
        ),
        IMAGE,
        {"a": relu},
    ),
    "flattened before": Entry(
        lambda: Of(lambda s, x: s.b(F.relu(s.a(x).flatten(1))), a=nn.Conv2d(1, 4, 3), b=nn.Linear(144, 3)),
        IMAGE,
        {"a": relu},
    ),
    "convolution of one dimension": Entry(
        lambda: Of(
            lambda s, x: s.c(F.elu(s.b(F.elu(s.a(x))).mean(dim=2))),
            a=nn.Conv1d(2, 4, 3),
            b=nn.ConvTranspose1d(4, 5, 3),
            c=nn.Linear(5, 3),
        ),
        (2, 8),
        {"a": F.elu},
    ),
    "ResNet": Entry(resnet, (3, 16, 16), {"conv1": relu, "layer1.0.conv1": relu, "layer1.0.conv2": relu, "fc": None}),
    "VGG": Entry(vgg, (3, 8, 8), {"0.0": relu, "0.4": relu}),
    "MobileNet": Entry(mobilenet, (3, 16, 16), {"features.0.0": lambda x: x.clamp(0, 6), "features.2.conv.2": None}),
    "ViT": Entry(
        lambda: VisionTransformer(8, 4, 1, 2, 8, 12, num_classes=3),
        (3, 8, 8),
        {"encoder.layers.encoder_layer_0.mlp.0": gelu, "conv_proj": None},
        ("encoder.layers.encoder_layer_0.self_attention.in_proj_weight",),
    ),
    "pre-activation block": Entry(
        lambda: Of(
            lambda s, x: s.c((h := s.a(x)) + s.b(F.relu(s.norm(h)))),
            a=nn.Linear(4, 6),
            norm=nn.BatchNorm1d(6),
            b=nn.Linear(6, 6),
            c=nn.Linear(6, 3),
        ),
        follows={"a": relu, "b": None},
    ),
    "squeeze and excitation": Entry(
        lambda: Of(
            lambda s, x: s.c((h := F.relu(s.a(x))) * torch.sigmoid(s.b(h))),
            a=nn.Linear(4, 6),
            b=nn.Linear(6, 6),
            c=nn.Linear(6, 3),
        ),
        follows={"a": relu, "b": torch.sigmoid},
    ),
    "GRU": Entry(
        lambda: averaged(body=Own(lambda x: x), gru=nn.GRU(4, 5), head=nn.Linear(4, 3)),
        (5, 4),
        {"head": None},
        ("gru.weight_ih_l0",),
    ),
    "LSTM": Entry(
        lambda: Of(lambda s, x: s.head(s.rnn(x)[0][:, -1]), rnn=nn.LSTM(4, 5, batch_first=True), head=nn.Linear(5, 3)),
        (5, 4),
        {"head": None},
        ("rnn.weight_ih_l0", "rnn.weight_hh_l0"),
    ),
    "LSTM cell": Entry(
        lambda: Of(through_cell, cell=nn.LSTMCell(4, 5), head=nn.Linear(5, 3)),
        follows={"head": None},
        unwatched=("cell.weight_ih",),
    ),
    "recurrent by hand": Entry(
        lambda: Of(unrolled, of_input=nn.Linear(4, 5), of_state=nn.Linear(5, 5), head=nn.Linear(5, 3)),
        (6, 4),
        {"of_input": torch.tanh, "of_state": torch.tanh},
    ),
    "transformer": Entry(
        lambda: averaged(body=transformer(), head=nn.Linear(8, 3)),
        (5, 8),
        {"body.linear1": relu, "body.linear2": None},
        ("body.self_attn.in_proj_weight",),
    ),
    "attention": Entry(
        lambda: Of(
            lambda s, x: s.head(s.attention(x, x, x)[0].mean(dim=1)),
            attention=nn.MultiheadAttention(8, 2, batch_first=True),
            head=nn.Linear(8, 3),
        ),
        (5, 8),
        {"head": None},
        ("attention.in_proj_weight",),
    ),
    "embedding": Entry(
        lambda: averaged(body=nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 6), nn.SiLU()), head=nn.Linear(6, 3)),
        (5,),
        {"body.0": None, "body.1": lambda x: x * torch.sigmoid(x)},
        words=9,
    ),
    "bag of words": Entry(
        lambda: nn.Sequential(nn.EmbeddingBag(9, 4), nn.ReLU(), nn.Linear(4, 3)), (5,), {"0": relu}, words=9
    ),
    "sparse embedding": Entry(
        lambda: averaged(body=nn.Embedding(9, 4, sparse=True), head=nn.Linear(4, 3)), (5,), {"body": None}, words=9
    ),
    "bilinear": Entry(
        lambda: Of(lambda s, x: s.b(F.relu(s.a(x, x))), a=nn.Bilinear(4, 4, 6), b=nn.Linear(6, 3)), follows={"a": relu}
    ),
    "bare parameters": Entry(Raw, follows={"first": relu, "second": None}),
    "tied autoencoder": Entry(
        lambda: Of(tied, encoder=nn.Linear(4, 6)), follows={"encoder": relu, "encoder-2": torch.sigmoid}
    ),
    "U-Net": Entry(
        lambda: Of(
            unet,
            down=nn.Conv2d(1, 4, 3, padding=1),
            bottom=nn.Conv2d(4, 4, 3, padding=1),
            up=nn.ConvTranspose2d(4, 4, 2, 2),
            out=nn.Conv2d(8, 3, 1),
        ),
        IMAGE,
        {"down": relu, "bottom": relu, "up": None},
    ),
    "routed to experts": Entry(
        lambda: Of(routed, a=nn.Linear(4, 6), router=nn.Linear(4, 2), one=nn.Linear(6, 3), two=nn.Linear(6, 3)),
        follows={"a": relu, "one": None},
    ),
    "adapters": Entry(lambda: nn.Sequential(Lora(), nn.ReLU(), nn.Linear(6, 3)), follows={"0": relu}),
    "lazy": Entry(lambda: nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, 3)), follows={"0": relu}),
    "quantisation-aware": Entry(
        lambda: Of(quantisation_aware, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), follows={"a": relu}
    ),
    "weight norm": Entry(normed(parametrizations.weight_norm), follows={"0": relu}),
    "spectral norm": Entry(normed(parametrizations.spectral_norm), follows={"0": relu}),
    "orthogonal weights": Entry(normed(parametrizations.orthogonal), follows={"0": relu}),
    "pruned": Entry(normed(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)), follows={"0.weight_orig": relu}),
    "a matrix of one's own": Entry(
        lambda: nn.Sequential(Matrix(4, 6), nn.ReLU(), Matrix(6, 3)), follows={"0.matrix": relu, "2.matrix": None}
    ),
    "embedding of bounded norm": Entry(
        lambda: averaged(body=nn.Sequential(nn.Embedding(9, 4, max_norm=1.0), nn.ReLU()), head=nn.Linear(4, 3)),
        (5,),
        {"body.0": relu},
        words=9,
    ),
    "RMS norm by hand": Entry(lambda: two(lambda x: F.relu(rms_norm_by_hand(x))), follows={"a": relu}),
    "layer norm by hand": Entry(lambda: two(layer_norm_by_hand), follows={"a": None}),
    "batch norm by hand": Entry(lambda: two(batch_norm_by_hand), follows={"a": None}),
    "a penalty": Entry(lambda: Of(penalised, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), follows={"a": relu}),
    "detached": Entry(lambda: two(lambda x: x.detach()), follows={"a": None}),
    "detached before": Entry(lambda: two(lambda x: F.relu(x.detach())), follows={"a": relu}),
    "a probe beside": Entry(
        lambda: Of(
            lambda s, x: s.probe((h := s.a(x)).detach()) + s.b(F.relu(h)),
            a=nn.Linear(4, 6),
            b=nn.Linear(6, 3),
            probe=nn.Linear(6, 3),
        ),
        follows={"a": relu},
    ),
    "both halves": Entry(
        lambda: Of(
            lambda s, x: s.b(torch.cat([F.relu(h := s.a(x)), F.relu(-h)], dim=1)), a=nn.Linear(4, 6), b=nn.Linear(12, 3)
        ),
        follows={"a": relu},
    ),
    "ReLU and dropout in one": Entry(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.ReLU(), nn.Dropout(0.5)), nn.Linear(6, 3)),
        follows={"0": relu},
    ),
    "ReLU and its square in one": Entry(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.ReLU(), Own(torch.square)), nn.Linear(6, 3)),
        follows={"0": lambda x: relu(x) ** 2},
    ),
    "swish with a module": Entry(
        lambda: nn.Sequential(
            nn.Linear(4, 6), Of(lambda s, x: x * s.gate(1.702 * x), gate=nn.Sigmoid()), nn.Linear(6, 3)
        ),
        follows={"0": swish},
    ),
    "inference beside": Entry(
        lambda: Of(beside_inference, teacher=two(F.relu_), a=nn.Linear(4, 6), b=nn.Linear(6, 3)),
        follows={"a": relu, "teacher.a": relu},
    ),
    "no examples": Entry(
        lambda: Of(
            lambda s, x: s.b(F.relu(s.a(x))) + F.relu(s.idle(x[:0])).sum(),
            idle=nn.Linear(4, 11),
            a=nn.Linear(4, 11),
            b=nn.Linear(11, 3),
        ),
        follows={"a": relu},
        unwatched=("idle",),
    ),
    "in many steps": Entry(lambda: two(in_many_steps), follows={"a": None}),
    "vmapped": Entry(
        lambda: Of(lambda s, x: torch.func.vmap(s.body)(x), body=two(F.relu)), unwatched=("body.a", "body.b")
    ),
    "nested": Entry(lambda: Of(nested, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), unwatched=("a", "b")),
    "frozen": Entry(frozen, follows={"a": relu}),
    "checkpointed": Entry(lambda: two(lambda x: checkpoint(F.relu, x, use_reentrant=False)), follows={"a": relu}),
    "softmax": Entry(lambda: nn.Sequential(nn.Linear(4, 6), nn.Softmax(dim=-1), nn.Linear(6, 3)), follows={"0": None}),
    "gated": Entry(lambda: nn.Sequential(nn.Linear(4, 6), nn.GLU(), nn.Linear(3, 3)), follows={"0": None}),
    "sorted": Entry(lambda: two(sorted_in_pairs), follows={"a": None}),
    "a gradient of its own": Entry(lambda: two(StraightThrough.apply), unwatched=("a",)),
    "compiled": Entry(lambda: torch.compile(two(F.relu), backend="eager"), unwatched=("a", "b")),  # type: ignore[arg-type, return-value]
}
