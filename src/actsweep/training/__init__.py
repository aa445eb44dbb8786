"""How a run is trained: checkpoints, progress, several devices; many networks as one stack."""
