"""The model of transformers that the function's variables choose."""

from common.huggingface.loading import load

__all__ = ["load"]
