"""Run the tests of the catalogue on a CPU, where their expected values were computed."""

from __future__ import annotations

import os

# PyTorch, TensorFlow and ONNX Runtime read this when they start. On a GPU the functions compute in
# float16, beyond the tolerances. Set CUDA_VISIBLE_DEVICES=0 to measure the difference.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
