"""Code that the functions share: entry points, images, boxes, masks, answers, weights.

Every function folder has a relative symbolic link named ``common`` to this package. A copy of the
folder that follows links is complete. This package imports neither Django nor the app. Its modules
need numpy, most need Pillow, and ``masks`` needs OpenCV; OpenVINO and PyTorch are imported by the
modules and functions that use them.
"""
