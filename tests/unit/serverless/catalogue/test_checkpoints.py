"""Reading of third-party checkpoints: arrays are read, callables are refused."""

from __future__ import annotations

import collections
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "serverless"))

from common.checkpoints import CheckpointError, Placeholder, read_pickle


class Dangerous:
    """Creates a folder when Python's own unpickler reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_callable_in_a_pickle_is_not_called(tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pkl", tmp_path / "made"
    path.write_bytes(pickle.dumps({"model": {"w": np.ones(2)}, "evil": Dangerous(target)}))
    content = read_pickle(path)
    assert not target.exists()
    assert isinstance(content["evil"], Placeholder)
    assert content["model"]["w"].tolist() == [1, 1]
    # Python's unpickler does call it, so the test would fail with a less strict reader.
    pickle.loads(path.read_bytes())
    assert target.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.float32(1.5),
        collections.OrderedDict(a=np.zeros(1), b=[1, "two", None, {3}]),
        np.array(7, dtype=np.int64),
    ],
)
def test_arrays_and_containers_are_read(tmp_path: Path, value: object, protocol: int) -> None:
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps({"value": value}, protocol=protocol))
    assert repr(read_pickle(path)["value"]) == repr(value)


def test_arrays_pickled_by_another_numpy_version_are_read(tmp_path: Path) -> None:
    content = pickle.dumps(np.arange(3.0), protocol=2)
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    path = tmp_path / "array.pkl"
    for text in (content.replace(new, old), content.replace(new, old).replace(old, new)):
        path.write_bytes(text)
        assert read_pickle(path).tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps(np.ones(3))[:-20]])
def test_an_unreadable_checkpoint_is_an_error_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"'broken\.pkl' is not a readable pickle"):
        read_pickle(path)
