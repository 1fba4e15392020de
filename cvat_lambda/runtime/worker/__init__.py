"""The worker process: one Python process that holds one loaded function.

It runs in the function's own environment, which holds nothing of ours but nuclio-sdk and msgpack,
so nothing here imports anything else of this project: `launch.py` is started by its path.
"""
