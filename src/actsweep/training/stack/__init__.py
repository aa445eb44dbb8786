"""Many networks of equal shape trained as one stack, and what the launcher `hydra/launcher=stacked` does with them."""
