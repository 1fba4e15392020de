"""``python -m tests.bench.sam_weights VARIANT FILE``: a checkpoint of Segment Anything.

The weights are random numbers in the shapes of the official checkpoint `vit_h`, `vit_l` or `vit_b`.
Run it with the interpreter of the function's environment.
"""

from __future__ import annotations

import sys

import torch

from tests.functions.catalogue.recipes import fixture
from tests.functions.catalogue.stand_ins.checkpoints import tensors

if __name__ == "__main__":
    variant, file = sys.argv[1:]
    gains = fixture("sam_small.outputs.json")["gains"]
    torch.save(tensors(f"sam_{variant}.shapes.json", gains), file)
