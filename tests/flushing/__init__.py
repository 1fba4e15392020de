"""A Django app for tests: its `flush` is faster than Django's, which runs after many tests."""
