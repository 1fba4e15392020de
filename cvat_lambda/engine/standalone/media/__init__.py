"""Storage and reading of frames."""
