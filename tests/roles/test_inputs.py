"""What a person types becomes an inference request: texts, JSON, files and images."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ledger.core.catalog.tensors import Tensor
from ledger.core.values.errors import Rejected
from roles.cli.shared import inputs

ROWS, TEXT = Tensor("X", "FP32", (-1, 4)), Tensor("text", "BYTES", (-1,))
GREY, COLOUR = Tensor("image", "FP32", (-1, 1, 2, 2)), Tensor("photo", "UINT8", (1, 2, 2, 3))


def sent(tensor: Tensor, *words: str) -> Any:
    """The one input that is sent."""
    (made,) = inputs.request([tensor], words)["inputs"]
    return made


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_texts_are_as_they_are_and_other_tensors_are_json() -> None:
    assert sent(TEXT, "text=a = b, [x]") == {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a = b, [x]"]}
    assert sent(ROWS, "X=[[1,2,3,4.5]]") == {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4.5]}


def test_a_value_can_be_in_a_file(tmp_path: Path) -> None:
    assert sent(ROWS, f"X=@{write(tmp_path / 'x.json', [[1, 2, 3, 4]])}")["data"] == [1, 2, 3, 4]
    assert sent(TEXT, f"text=@{write(tmp_path / 'x.txt', 'hello')}")["data"] == ["hello"]
    assert sent(TEXT, f"text=@{write(tmp_path / 't.json', ['a', 'b'])}")["shape"] == [2]


def test_all_inputs_can_be_in_one_file(tmp_path: Path) -> None:
    both = write(tmp_path / "both.json", {"X": [1, 2, 3, 4], "text": ["hi"]})
    made = inputs.request([ROWS, TEXT], [f"@{both}"])["inputs"]
    assert [(one["name"], one["data"]) for one in made] == [("X", [1, 2, 3, 4]), ("text", ["hi"])]
    whole = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    assert inputs.request([ROWS], [f"@{write(tmp_path / 'whole.json', whole)}"]) == whole


def test_an_image_is_resized_made_grey_and_scaled(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4), "white")
    picture.paste("black", (0, 0, 2, 4))
    picture.save(tmp_path / "half.png")
    made = sent(GREY, f"image=@{tmp_path / 'half.png'}")
    assert made["shape"] == [1, 1, 2, 2]
    left, right, *below = made["data"]
    assert left < 0.2 < 0.8 < right <= 1
    assert below == [left, right]


def test_colours_go_where_the_tensor_has_its_channels(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 3), (255, 128, 0, 255)).save(tmp_path / "orange.png")
    assert sent(COLOUR, f"photo=@{tmp_path / 'orange.png'}")["data"] == [255, 128, 0] * 4
    first = sent(Tensor("photo", "UINT8", (1, 3, -1, -1)), f"photo=@{tmp_path / 'orange.png'}")
    assert (first["shape"], first["data"]) == ([1, 3, 3, 1], [255] * 3 + [128] * 3 + [0] * 3)


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    photo, exif = Image.new("L", (2, 1), 0), Image.Exif()
    exif[0x0112] = 6  # held sideways
    photo.save(tmp_path / "sideways.jpg", exif=exif)
    made = sent(Tensor("image", "UINT8", (1, 1, -1, -1)), f"image=@{tmp_path / 'sideways.jpg'}")
    assert made["shape"] == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("tensor", "words", "said"),
    [
        (ROWS, [], r"X FP32 \[-1,4\] is missing: write 'X=\[\[0,0,0,0\]\]'"),
        (ROWS, ["x=[1]"], "no input 'x'"),
        (ROWS, ["1,2,3,4"], "is not an input"),
        (ROWS, ["X=1,2"], "is not JSON"),
        (ROWS, ["X=[[NaN,1,1,1]]"], "is not JSON"),
        (ROWS, ["X=[[1,2]]"], r"does not take a value of shape \[1, 2\]"),
        (ROWS, ["X=@photo.png"], "takes no image"),
        (GREY, ["image=@text.png"], "no image that can be read"),
        (ROWS, ["@list.json"], "not a JSON object"),
        (TEXT, ["text=@latin.txt"], "no text in UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_what_the_model_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensor: Tensor, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "list.json", [1])
    write(tmp_path / "text.png", "no image")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(Rejected, match=said):
        inputs.request([tensor], words)


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_PIXELS", 3)
    Image.new("L", (2, 2)).save(tmp_path / "large.png")
    with pytest.raises(Rejected, match="more than 3 pixels"):
        sent(GREY, f"image=@{tmp_path / 'large.png'}")


def test_an_example_can_be_pasted() -> None:
    flag, wide = Tensor("b", "BOOL", (1,)), Tensor("w", "FP32", (-1, 300))
    assert inputs.example([ROWS, TEXT, GREY]) == "'X=[[0,0,0,0]]' 'text=Hello!' image=@image.png"
    assert inputs.example([flag, wide]) == "'b=[false]' w=@w.json"
    assert inputs.request([flag], ["b=[false]"])
