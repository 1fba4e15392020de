"""The engine port inside a CVAT server. The only place that imports ``cvat.*``."""
