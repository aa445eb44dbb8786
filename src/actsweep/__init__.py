"""What an activation function does to a deep network, measured."""
