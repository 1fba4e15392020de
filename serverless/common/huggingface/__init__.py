"""Functions on models of the package `transformers`: each task's answers as items of CVAT.

A function's folder has a ``model.py`` with one line, ``from common.huggingface.loading import
load``. The weights folder holds the files of one published model: ``config.json``,
``preprocessor_config.json``, ``model.safetensors``, and the tokenizer's files for models with text.
Nothing is fetched when the function starts.

The image processors that run on Pillow are used. They need no torchvision, whose compiled part must
match the build of PyTorch.
"""
