"""The engine port inside a CVAT server. Only this package and `integration` import ``cvat.*``."""
