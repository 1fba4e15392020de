"""Lets the authors' TransT be imported beside today's torchvision.

To be imported before it.
"""

from __future__ import annotations

import torchvision
from torchvision.models import resnet

resnet.model_urls = {}  # where ResNet's weights were; none are fetched here
# It compares the first three characters with 0.7 as a number, and takes 0.28 for 0.2.
torchvision.__version__ = "0.99"
