"""A door to getting data; the data sets are in the package."""
