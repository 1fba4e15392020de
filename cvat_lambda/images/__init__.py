"""Encoded images for functions: regions, resizing and encoding. Nothing here imports Django."""
