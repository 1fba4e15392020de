"""What the catalogue's tests expect was computed on a CPU: there they run, wherever they run."""

from __future__ import annotations

import os

# Read by PyTorch, TensorFlow and ONNX Runtime alike when they start. A GPU would do the work in
# float16, beyond the tolerances; CUDA_VISIBLE_DEVICES=0 shows it to who wants to see by how much.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
