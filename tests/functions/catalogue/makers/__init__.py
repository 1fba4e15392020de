"""Makers of the fixtures tests/data/catalogue/*.outputs.json, by the reference packages."""
