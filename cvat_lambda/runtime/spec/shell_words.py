"""Split lines of a shell into commands and words, and replace variables by their values.

In single quotes and behind a backslash, ``$`` is a plain character. In double quotes a value is one
word; outside quotes its spaces separate words. Both kinds of ``$`` are stored as characters of
their own (`LITERAL`, `QUOTED`) until the words are read.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Final

# Characters of Unicode's private use area, which no line contains.
LITERAL: Final = "\ue000"  # a $ that a shell does not replace
QUOTED: Final = "\ue001"  # a $ in double quotes
_SPACE: Final = "\ue002"  # separates words, in the value of a variable
#: $NAME, ${NAME}, ${NAME:-default}, ${NAME:+other}; $$ is the number of the shell's process
VARIABLE: Final = re.compile(
    r"([$\ue001])(?:[$\ue001]|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?([-+])([^}]*))?\})"
)
_NAMED: Final = re.compile(r"[$\ue001](?=[$\ue001\w{])")
_COMMENT_LINE: Final = re.compile(r"^[ \t]*#.*\n?", re.MULTILINE)
_QUOTES: Final = r"""(?P<single>'[^']*')|(?P<double>"(?:\\.|[^"\\])*")|(?P<escaped>\\.)"""
# `>=` is not a redirection: people forget to quote versions.
_COMMENT_OR_REDIRECTION: Final = (
    r"(?<!\S)\#[^\n]*|(?<!\S)[012&]?>{1,2}(?!=)[ \t]*(?:&[012-]|[^\s;&|]+)"
)
_IN_IMAGE: Final = re.compile(_QUOTES, re.DOTALL)
_IN_SHELL: Final = re.compile(f"{_QUOTES}|{_COMMENT_OR_REDIRECTION}", re.DOTALL)


def split_commands(text: str) -> list[list[str]]:
    """Split a line of a shell into its commands, each as a list of words."""
    if text.lstrip().startswith("["):  # the form without a shell: ["pip", "install", "a"]
        try:
            words = [str(word).replace("$", LITERAL) for word in json.loads(text)]
        except (ValueError, RecursionError):
            pass  # the shell's command `[`
        else:
            return [words] if words else []
    text = _IN_SHELL.sub(_mark, _COMMENT_LINE.sub("", text).replace("\\\n", " "))
    reader = shlex.shlex(text, posix=True, punctuation_chars="();&|\n")
    reader.whitespace = " \t\r"
    reader.whitespace_split = True
    reader.commenters = ""
    commands: list[list[str]] = [[]]
    try:
        for word in reader:
            if word.strip("();&|\n") == "":
                commands.append([])
            else:
                commands[-1].append(word)
    except ValueError:  # a quote that is not closed
        return [text.split()]
    return [words for words in commands if words]


def mark_dollars(text: str) -> str:
    """Tell each ``$`` in quotes of a line of an image from the others."""
    return _IN_IMAGE.sub(_mark, text)


def _mark(match: re.Match[str]) -> str:
    text = match[0]
    if match["single"] is not None:
        return text.replace("$", LITERAL)
    if match["double"] is None and match["escaped"] is None:
        return ""  # a comment or a redirection
    return re.sub(r"\\(.)", _mark_escaped, text, flags=re.DOTALL).replace("$", QUOTED)


def _mark_escaped(match: re.Match[str]) -> str:
    return LITERAL if match[1] == "$" else match[0]


def expand(text: str, variables: Mapping[str, str], *, space: str = "") -> str:
    """Return a text with its variables replaced by their values. Unknown ones stay as they are.

    With ``space``, this text takes the place of spaces in values outside quotes.
    """

    def value(match: re.Match[str]) -> str:
        name = match[2] or match[3]
        if name is None:
            return match[0]
        found = variables.get(name)
        if match[4] == "+":
            found = match[5] if found else ""
        elif match[4] == "-" and not found:
            found = match[5]
        if found is None:
            return match[0]
        return re.sub(r"\s+", space, found) if space and match[1] == "$" else found

    return VARIABLE.sub(value, text)


def expand_word(word: str, variables: Mapping[str, str]) -> list[str]:
    """Return the words that a shell makes of one: spaces of an unquoted value separate words."""
    return [part for part in expand(word, variables, space=_SPACE).split(_SPACE) if part]


def plain(text: str) -> str:
    """Return a text with every ``$`` as it was written."""
    return text.replace(LITERAL, "$").replace(QUOTED, "$")


def has_variable(text: str) -> bool:
    """Return whether a text has a ``$`` that a shell would replace."""
    return "$" in text or QUOTED in text


def is_replaced_in_image(text: str) -> bool:
    """Return whether an image replaces a ``$`` of this text, for which no value is known.

    In a line of an image, a ``$`` that no name follows is a plain character.
    """
    return _NAMED.search(text) is not None


def why_unknown(text: str) -> str:
    """Return why a text with a variable, or a command in it, cannot be used."""
    match = VARIABLE.search(text)
    if match and (match[2] or match[3]):
        return f"the value of {match[2] or match[3]} is not known"
    return "a shell computes it" if has_variable(text) else "a shell does not replace this $"
