"""Strict parsing of request bodies and query strings.

Members that are null count as not given. Unknown members of a call are ignored; those of a request
are refused, since a misspelt one would run something else than was asked for.
"""
