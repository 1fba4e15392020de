"""The processor: one process a function, which owns the function's port and its workers."""
