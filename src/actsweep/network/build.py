"""A run's settings → its untrained network.

Flow: config → **network** → training, of a run alone and of each member of a stack.
"""

import torch

from actsweep.config.schema import Settings
from actsweep.data.dataset import Standardised
from actsweep.network import activations
from actsweep.network.classifier import Classifier
from actsweep.network.mlp import fill


def build_network(settings: Settings, input_size: int, output_size: int, scale: object = None) -> Classifier:
    """The untrained network: the seed alone fixes its weights. `scale`: of its inputs, which a checkpoint tells."""
    network = {"input_size": input_size, "hidden_sizes": settings.layer_sizes, "output_size": output_size}
    network |= {"act": settings.act.plain(), "norm": settings.norm}
    torch.manual_seed(settings.seed)  # immediately before: nothing that ran earlier can matter
    described = settings.optim.plain(), settings.seed, settings.names.data, settings.loss
    classifier = Classifier(network, *described, scale.plain() if isinstance(scale, Standardised) else None)
    if settings.monitor and not settings.untrained:
        classifier.monitor = {"monitor": settings.monitor, "mode": "max" if "accuracy" in settings.monitor else "min"}
    # Before the initialisation, so that it isn't rounded to float32.
    activations.cast(classifier, torch.float64 if str(settings.trainer.precision).startswith("64") else torch.float32)
    weight, bias = settings.init.functions()
    for tap in classifier.network.taps():
        fill(tap.linear, weight, bias)
    return classifier
