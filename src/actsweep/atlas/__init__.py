"""The atlas: every published activation function measured the same way, one function at one initialisation a run."""
