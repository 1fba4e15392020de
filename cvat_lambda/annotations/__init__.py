"""Labels, shapes, masks and tracks, and the conversion of functions' answers to them.

``detections`` converts a detector's answer by the ``mapping`` of its ``labels``, and
``interactor_answer``, ``tracker_answer`` and ``reid_answer`` check the answers of the other kinds.
``placement`` converts coordinates between an image and its frame. ``serialize`` reads and writes
the JSON of the API. ``track_linking`` joins rectangles to tracks. Nothing here uses Django, HTTP or
another package of the app.
"""
