"""What a GGUF file tells is read, numbers as the package reads them; a torn or foreign file is refused."""

import struct
from importlib.util import find_spec

import numpy as np
import pytest

from kalibre.core.errors import ModelError
from kalibre.language.gemma.weights_file import WeightsFile

NUMBERS = np.arange(12, dtype="<f4").reshape(3, 4)


def word(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def written() -> bytes:
    values = [
        word("general.name") + struct.pack("<I", 8) + word("Küçük"),
        word("list") + struct.pack("<IIQ", 9, 8, 2) + word("bir") + word("iki"),
        word("scores") + struct.pack("<IIQ3f", 9, 6, 3, -1.0, 0.5, 2.0),
        word("count") + struct.pack("<II", 4, 7),
        word("yes") + struct.pack("<IB", 7, 1),
    ]
    tensor = word("table.weight") + struct.pack("<IQQIQ", 2, 4, 3, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(values)) + b"".join(values) + tensor
    return head + bytes(-len(head) % 32) + NUMBERS.tobytes()


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "tiny.gguf"
    found.write_bytes(written())
    return found


def test_told_values_are_read(path) -> None:
    told = WeightsFile(path).told
    assert told == {
        "general.name": "Küçük", "list": ["bir", "iki"], "scores": [-1.0, 0.5, 2.0], "count": 7, "yes": True,
    }  # fmt: skip


def test_numbers_and_rows_are_read(path) -> None:
    if find_spec("gguf") is None:
        pytest.skip("the extra is optional, and gguf is not installed: pip install 'kalibre[gemma]'")
    found = WeightsFile(path)
    assert np.array_equal(found.numbers("table.weight"), NUMBERS)
    assert np.array_equal(found.numbers("table.weight", [2, 0]), NUMBERS[[2, 0]])
    with pytest.raises(ModelError, match="lack 'other'"):
        found.numbers("other")
    path.write_bytes(written()[:-4])
    with pytest.raises(ModelError, match=r"end within .table\.weight"):
        WeightsFile(path).numbers("table.weight")


def test_a_header_torn_anywhere_is_refused(path) -> None:
    whole = written()
    for end in range(1, len(whole) - NUMBERS.nbytes - 32):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelError, match="GGUF"):
            WeightsFile(path)


def test_what_is_no_such_file_is_refused(path) -> None:
    for content in (b"", b"PK\x03\x04" + bytes(64), b"GGUF" + b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="install the package anew"):
            WeightsFile(path)
