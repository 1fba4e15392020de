"""Reads what an ONNX file states about itself: its metadata, and the shapes of its outputs.

The file is a Protocol Buffers message (onnx.proto3 of the ONNX repository). Only the fields that
are needed are read and the weights are skipped, so a file of gigabytes takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cvat_lambda.runtime.errors import RuntimeFault

# Numbers of fields: ModelProto.graph and metadata_props; GraphProto.input and output.
_GRAPH: Final = 7
_METADATA: Final = 14
_INPUT: Final = 11
_OUTPUT: Final = 12
# Types on the wire.
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_MAX_FIELD: Final = 16 * 2**20  # bytes of one field that is read
_MAX_VARINT: Final = 10  # bytes

Shape = tuple[int | None, ...]  # None: a side that varies
_Path = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """What a file states."""

    metadata: dict[str, str]
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]


def read_onnx(path: Path) -> OnnxFile:
    """Return what an ONNX file states; raise RuntimeFault if it is not one."""
    metadata: dict[str, str] = {}
    inputs: dict[str, Shape] = {}
    outputs: dict[str, Shape] = {}
    has_graph = False
    try:
        with path.open("rb") as file:
            reader = _Reader(file, path.stat().st_size)
            for number, start, end in reader.fields(0, reader.size):
                if number == _METADATA:
                    key, value = reader.text(start, end, 1), reader.text(start, end, 2)
                    metadata[key] = value
                elif number == _GRAPH:
                    has_graph = True
                    for inner, first, last in reader.fields(start, end):
                        if inner in (_INPUT, _OUTPUT):
                            name = reader.text(first, last, 1)
                            found = inputs if inner == _INPUT else outputs
                            found[name] = tuple(reader.shape(first, last))
    except (EOFError, UnicodeDecodeError, ValueError) as exc:
        raise RuntimeFault(f"{path} is not an ONNX file that can be read") from exc
    if not has_graph or not outputs:
        raise RuntimeFault(f"{path} is not an ONNX file that can be read: it has no graph")
    return OnnxFile(metadata=metadata, inputs=inputs, outputs=outputs)


class _Reader:
    """Reads fields of a message by their positions in a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, start and end of each field; of a number, its value instead of both."""
        place = start
        while place < end:
            key, place = self._varint(place)
            kind = key & 7
            if kind == _VARINT:
                value, place = self._varint(place)
                yield key >> 3, value, value
                continue
            if kind == _BYTES:
                length, place = self._varint(place)
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                length = 8 if kind == _EIGHT_BYTES else 4
            else:
                raise ValueError("an unknown type")
            if place + length > end:
                raise EOFError
            yield key >> 3, place, place + length
            place += length

    def text(self, start: int, end: int, number: int) -> str:
        """Return a text inside a message, or ""."""
        for found, first, last in self.fields(start, end):
            if found == number:
                if last - first > _MAX_FIELD:
                    raise ValueError("a text that is too long")
                self._file.seek(first)
                return self._file.read(last - first).decode("utf-8")
        return ""

    def shape(self, start: int, end: int) -> Iterator[int | None]:
        """Yield the sides in a ValueInfoProto: .type(2).tensor_type(1).shape(2).dim(1).value(1)."""
        for first, last in self._inside(start, end, (2, 1, 2, 1)):
            sides = [value for number, value, _ in self.fields(first, last) if number == 1]
            yield sides[0] if sides else None

    def _inside(self, start: int, end: int, path: _Path) -> Iterator[tuple[int, int]]:
        if not path:
            yield start, end
            return
        for number, first, last in self.fields(start, end):
            if number == path[0]:
                yield from self._inside(first, last, path[1:])

    def _varint(self, place: int) -> tuple[int, int]:
        self._file.seek(place)
        value = 0
        for index, byte in enumerate(self._file.read(_MAX_VARINT)):
            value |= (byte & 127) << (7 * index)
            if byte < 128:
                return value, place + index + 1
        raise EOFError
