"""The diagnostics that work on any LightningModule: `Trainer(callbacks=[GradientNorm(), DeadUnits()])`.

Flow: diagnostics, results → here. Needs torch and pytorch-lightning, nothing else (`Diagnosis` also pandas and SciPy,
when a fit ends). Values go to every logger of the
trainer, as `grad_norm/LAYER`; histograms and curves to those that have a place for them, as `Tables` has.

    trainer = Trainer(callbacks=[GradientNorm(), ActivationHistogram(every_n_epochs=5)], logger=Tables(Path("mine")))

What a diagnostic measures can be asked of any module, without a trainer:

>>> import torch
>>> network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
>>> torch.nn.init.constant_(network[0].bias, -100.0) is network[0].bias
True
>>> first, _ = observe(network, lambda: network(torch.ones(4, 2)).mean())
>>> DeadUnits().measure(first)["dead_fraction"], GradientNorm().measure(first)["grad_norm"]
(tensor([1.]), tensor([0.]))
"""

from actsweep.diagnosis import Diagnosis
from actsweep.diagnostics.activations import ActivationMoments
from actsweep.diagnostics.curve import ActivationCurve
from actsweep.diagnostics.diagnostic import Diagnostic, Quantity, Receiver
from actsweep.diagnostics.gradients import GradientNorm
from actsweep.diagnostics.histograms import ActivationHistogram
from actsweep.diagnostics.observation import Layer, observe
from actsweep.diagnostics.steps import EveryStep
from actsweep.diagnostics.table import watched
from actsweep.diagnostics.taxonomy import Taxonomy
from actsweep.diagnostics.units import DeadUnits
from actsweep.diagnostics.updates import UpdateRatio
from actsweep.results.tables import Tables

__all__ = [
    "ActivationCurve", "ActivationHistogram", "ActivationMoments", "DeadUnits", "Diagnosis", "Diagnostic", "EveryStep",
    "GradientNorm", "Layer", "Quantity", "Receiver", "Tables", "Taxonomy", "UpdateRatio", "observe", "watched",
]  # fmt: skip
