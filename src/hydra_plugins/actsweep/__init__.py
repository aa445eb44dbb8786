"""The thin plugin classes that Hydra accepts only from the namespace hydra_plugins."""
