"""The REST host: what `cvat-sdk` and `cvat-cli` 2.80 ask of a server."""
