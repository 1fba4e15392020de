"""Plain code shared by the functions of this folder: pictures, boxes, masks, answers, weights.

Every function folder holds a relative link named ``common`` to this package, so a function can be
copied (links followed) to any platform and still be whole. Nothing here imports Django, the app or
a model runtime at import time; numpy and Pillow are enough.
"""
