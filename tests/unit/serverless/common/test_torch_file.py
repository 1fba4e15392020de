from __future__ import annotations

import base64
import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from common.torch_file import MAGIC, PROTOCOL, UnreadableCheckpoint, read_parameters

# torch.save of PyTorch 2.13, in its old format, of: a.weight = arange(12).reshape(3, 4), a.turned =
# its transpose (the same storage), b.count = 7 (int64), b.half = [1.5, -2] (float16).
CHECKPOINT = zlib.decompress(
    base64.b64decode(
        "eNptkstu00AUhseXJMWkJdwp19CC5GysNmkJ2QCVUIU0XIrZzAZZrj3ERpYnxz4uAqlSNo2AZ2DBksfoo7DlEZBY"
        "cBxbhUoZ+R/bx2e+/9d4pvpXK/nzbfd39/2PvVVnqr/4ZdB8CMwWHcbYJFOoApV4BzLLY5WCRg1imb4kMWIiPZmG"
        "sZ+C/llYVMSPE+nl8SeZg3EIpi0aVMwjlSE0uC4MeotThCY3hVkyVDqGFjeLgjwDsklkgOSSW6+yUGYyfBoHaAHr"
        "uaDZYolW+M4HGY8jBD1AlQWR4xUYJ7nlZXK/iJPQQ5nmKvMO+hYYti1apT91+mMJZrXE2k2Uj2+qogUNsUI9o63B"
        "cNR/OBhubdCA5jxqMCkoXfslwtJrzrjBzRmc4SbXZmB9icpUZxHaLizX0bDIUhnCSkTOkRktJJ+LKmKnJJrcmMF5"
        "rpXgCxXxIsIlFy7Pg+87gSpou65UwDr+c9q0k/RX/3lsjshi8wF5XCMPjTxWyaPXq7jXEW64cFM059zIT97BrVPY"
        "Z1Q6wd4+hR1s94fbfbhDWJ2w3TK6fgR3uXYEaxV+HeGeC/fL//i2PDsLlmuLouqL9siQjs7q8Ygda/Vjq7632f9j"
        "+pimJ3SRpqTvpGPSTxLbYaxD6pI2dv4Cmu+4xw=="
    )
)


def test_tensors_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(CHECKPOINT)
    found = read_parameters(path)
    expected = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert list(found) == ["a.weight", "a.turned", "b.count", "b.half"]
    assert found["a.weight"].dtype == np.float32
    assert found["a.weight"].tolist() == expected.tolist()
    assert found["a.turned"].tolist() == expected.T.tolist()
    assert found["b.count"] == 7
    assert found["b.half"].tolist() == [1.5, -2.0]


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


def test_a_checkpoint_that_names_a_callable_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    head = [MAGIC, PROTOCOL, {"little_endian": True}, _Command()]
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head))
    with pytest.raises(UnreadableCheckpoint, match=r"the checkpoint names \w+\.system"):
        read_parameters(path)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ([1, PROTOCOL], "weights.pt is not a checkpoint in PyTorch's old format"),
        ([MAGIC, 1], "weights.pt is not a checkpoint in PyTorch's old format"),
        ([MAGIC, PROTOCOL, {"little_endian": False}], "weights.pt was written on a big-endian"),
        ([MAGIC, PROTOCOL, {"little_endian": True}, [1]], "weights.pt holds no parameters by name"),
    ],
)
def test_file_that_is_not_a_torch_file_is_refused(
    tmp_path: Path, head: list[object], sentence: str
) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head))
    with pytest.raises(UnreadableCheckpoint, match=sentence):
        read_parameters(path)
