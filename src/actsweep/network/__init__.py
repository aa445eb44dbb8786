"""The network, its activations, its loss, and the LightningModule that trains it."""
