"""Serializers with the member names of CVAT's API."""
