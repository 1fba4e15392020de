"""Labels, shapes and masks, and a function's answer turned into them: numbers in, numbers out.

``answers`` converts what functions answer, by the ``mapping`` of their ``labels``; ``serialize``
is the JSON of the API; ``reid`` joins rectangles to tracks. Nothing here knows of Django, HTTP or
any other room.
"""
