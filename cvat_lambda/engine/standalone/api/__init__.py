"""The REST API of the standalone engine, as `cvat-sdk` and `cvat-cli` 2.80 use it."""
