"""The content security policy of the pages: no inline script or style, no other host."""

from __future__ import annotations

from typing import Final

# Masks are images in data URLs. A picture that a user chooses is shown from a blob URL.
POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
