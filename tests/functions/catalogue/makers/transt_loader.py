"""Make the authors' TransT importable with current torchvision.

Import this module first.
"""

from __future__ import annotations

import torchvision
from torchvision.models import resnet

resnet.model_urls = {}  # the former module of ResNet's weights; none are downloaded here
# TransT compares the first three characters as a number with 0.7, and reads 0.28 as 0.2.
torchvision.__version__ = "0.99"
