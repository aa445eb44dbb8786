"""Data sets as tensors: one module per data set, and the DataModule that cuts them into batches."""
