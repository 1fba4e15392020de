"""Model weights: declared in function.yaml, fetched once, verified, converted."""
