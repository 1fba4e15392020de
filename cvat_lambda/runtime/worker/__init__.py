"""The worker process: one Python process that holds one loaded function.

It runs in the function's own environment, where only nuclio-sdk and msgpack are certain to exist.
So it imports nothing else of this project, and `launch.py` is started by its path.
"""
