"""Model functions for annotators: in a CVAT server or standalone."""

__version__ = "0.1.0"
