"""A grid: composed, checked, planned, cut into units, handed to an executor, reported on."""
