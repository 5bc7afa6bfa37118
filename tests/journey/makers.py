"""Models as a newcomer brings them, written into a folder: `python makers.py FOLDER`. Runs with `makers.lock` alone.

iris.onnx     a table: scikit-learn's logistic regression, by skl2onnx
digits.onnx   an image of 8 x 8 greys: a convolution written with onnx; three.png is one of its images, larger
reviews/      a text: TF-IDF and a logistic regression, by skl2onnx, in a folder
zipmap.onnx   the same iris as skl2onnx writes it by default: its answer is a list of maps
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.datasets import load_digits, load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

OPSET = 17
GOOD = ("what a lovely lamp", "works well and arrived early", "I am happy with it", "a good buy")
BAD = ("broken on arrival", "a bad lamp, it never worked", "I want my money back", "awful, do not buy it")


def write(model: onnx.ModelProto, path: Path) -> None:
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())


def iris(folder: Path) -> None:
    flowers = load_iris()
    model = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target)
    for name, options in (("iris", {"zipmap": False}), ("zipmap", {})):
        types = [("X", FloatTensorType([None, 4]))]
        converted = convert_sklearn(model, "iris", types, target_opset=OPSET, options={id(model): options})
        write(converted, folder / f"{name}.onnx")


def reviews(folder: Path) -> None:
    texts, labels = [*GOOD, *BAD], ["good"] * len(GOOD) + ["bad"] * len(BAD)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)
    options = {id(model): {"zipmap": False}, TfidfVectorizer: {"locale": "C"}}  # the default, en_US, is not everywhere
    types = [("review", StringTensorType([None, 1]))]
    folder.mkdir()
    write(convert_sklearn(model, "reviews", types, target_opset=OPSET, options=options), folder / "reviews.onnx")


def digits(folder: Path) -> None:
    """A convolution that looks at the whole image: the weights are a logistic regression's, whose answers are known."""
    images = load_digits()
    model = LogisticRegression(max_iter=500).fit(images.data / 16, images.target)
    three = images.images[3] * 255 / 16
    Image.fromarray(three.astype(np.uint8)).resize((32, 32), Image.Resampling.NEAREST).save(folder / "three.png")
    weights = {"w": model.coef_.reshape(10, 1, 8, 8), "b": model.intercept_}
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["seen"]),
        helper.make_node("Flatten", ["seen"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["digit"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [
            helper.make_tensor_value_info("digit", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10]),
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]), folder / "digits.onnx")


if __name__ == "__main__":
    out = Path(sys.argv[1])
    iris(out)
    reviews(out / "reviews")
    digits(out)
