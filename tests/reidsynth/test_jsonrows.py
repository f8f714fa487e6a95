from __future__ import annotations

import json
import random

import pytest

from reidsynth import jsonrows
from reidsynth.errors import UserError


def elements(path):
    return [value for _, _, value in jsonrows.stream_array(path, "read")]


VALUES = [
    {"id": 7, "path": "Part1/7/1.jpg", "captions": ["a [bracket], a {brace} and a \\ in it", "ünïcödé 行人 🙂"]},
    {},
    [],
    [[1, [2]], {"a": None}],
    'text, with ] and " in it',
    12345678901234567890,
    -1.5e-7,
    True,
    None,
    {"escaped": "🙂 é\n\t"},
]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize(("indent", "ascii_only"), [(None, True), (None, False), (4, False)])
def test_as_the_whole_file_at_once(tmp_path, monkeypatch, chunk, indent, ascii_only):
    """Chunks end inside numbers, escapes and characters of several bytes."""
    monkeypatch.setattr(jsonrows, "CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(VALUES, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    assert elements(path) == VALUES
    data = path.read_bytes()
    for place, length, value in jsonrows.stream_array(path, "read"):
        assert json.loads(data[place : place + length]) == value


def test_random_arrays(tmp_path, monkeypatch):
    draw = random.Random(0)
    path = tmp_path / "a.json"
    for _ in range(60):
        monkeypatch.setattr(jsonrows, "CHUNK", draw.randint(1, 40))
        values = [draw.choice(VALUES) for _ in range(draw.randint(0, 6))]
        space = draw.choice(["", " ", "\r\n"])
        text = (
            f"{space}[{space}"
            + f"{space},{space}".join(json.dumps(v, ensure_ascii=False) for v in values)
            + f"{space}]"
        )
        path.write_bytes(draw.choice([b"", b"\xef\xbb\xbf"]) + text.encode())
        assert elements(path) == values


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a list of rows"),
        (b'{"a": 1}', "not a list of rows"),
        (b'[{"a": 1}, {"b": ', "damaged in row 1"),
        (b'[{"a": 1}, ', "ends after row 0 without"),
        (b'[{"a": 1}', "ends after row 0 without"),
        (b'[{"a": 1} {"b": 2}]', "damaged in row 1 .',' expected"),
        (b'[{"a": 1}, {b: 2}, {"c": 3}]', "damaged in row 1"),
        (b'[{"a": "\xff\xfe"}]', "damaged in row 0"),
        (b"[" + b"[" * 200_000, "damaged in row 0"),
    ],
)
def test_damage_names_the_row(tmp_path, data, message):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        elements(path)


def test_a_row_without_end_is_not_read_to_the_end_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonrows, "CHUNK", 64)
    monkeypatch.setattr(jsonrows, "LONGEST_ROW", 1000)
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"a": 1}, {"b": "' + b"x" * 100_000 + b'"}]')
    with pytest.raises(UserError, match="damaged in row 1"):
        elements(path)


def test_absent_file(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        elements(tmp_path / "a.json")
