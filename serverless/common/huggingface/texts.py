"""The texts of a call to a function that is prompted by text."""

from __future__ import annotations

import json
import os
from typing import Any

from common.errors import BadInput

MAX_TEXTS = 64
MAX_LENGTH = 200  # characters of a text


def read_texts(body: dict[str, Any]) -> list[str]:
    """Return ``text`` of a call: one text or a list.

    Without one, the texts are those of the function (environment: TEXT_PROMPTS, a JSON list), whose
    labels have the same names.
    """
    sent = body.get("text")
    if sent is None:
        sent = json.loads(os.environ.get("TEXT_PROMPTS") or "[]")
    texts = [sent] if isinstance(sent, str) else sent
    if not isinstance(texts, list) or not texts:
        raise BadInput("'text' is missing; send what to find, such as [\"a red car\"]")
    if len(texts) > MAX_TEXTS:
        raise BadInput(f"'text' has {len(texts)} entries; send at most {MAX_TEXTS}")
    for text in texts:
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_LENGTH:
            raise BadInput(f"'text' holds {text!r}; send texts of 1 to {MAX_LENGTH} characters")
    return texts
