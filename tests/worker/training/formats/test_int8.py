"""The int8 file: as accurate as the float one, on any CPU, and smaller."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from worker.training import calibration, formats
from worker.training.formats import int8
from worker.training.formats.int8 import WEIGHT_LIMIT
from worker.training.onnx_network import OnnxNetwork


@pytest.fixture(scope="module")
def int8_file(trained, onnx_file):
    path = trained.folder / "model.int8.onnx"
    write(trained, onnx_file, path)
    return path


def write(trained, onnx_file, path, exclude=()):
    images = calibration.Images(trained.order, 128, threads=1)
    int8.write(onnx_file, trained.card, images.batches(), exclude, path)


def accuracy(path, trained):
    told = OnnxNetwork(path, threads=1).predicted(torch.from_numpy(trained.images_NHWC)).numpy()
    return (told == trained.labels_N).mean()


def weights(path):
    """The int8 ones of convolutions and linear layers; their biases are int32."""
    return [array for array in map(numpy_helper.to_array, onnx.load(path).graph.initializer) if array.dtype == np.int8]


def test_int8_is_as_accurate_as_fp32_on_a_trained_network(trained, onnx_file, int8_file):
    before, after = accuracy(onnx_file, trained), accuracy(int8_file, trained)
    assert before > 0.8, "it was not trained"
    assert abs(before - after) <= 0.01
    assert int8_file.stat().st_size * 2.5 < onnx_file.stat().st_size


def test_no_cpu_cuts_off_a_sum_of_products(int8_file):
    """Without VNNI two products of uint8 and int8 are added in 16 bits."""
    found = [array for array in weights(int8_file) if array.ndim > 1]
    assert len(found) >= 8
    largest = max(int(np.abs(array.astype(int)).max()) for array in found)
    assert largest == WEIGHT_LIMIT
    assert 2 * 255 * largest < 2**15


def test_each_output_channel_has_a_scale_of_its_own(int8_file):
    model = onnx.load(int8_file)
    sizes = {each.name: each.dims for each in model.graph.initializer}
    scales = [list(sizes[node.input[1]]) for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert sum(len(dims) == 1 and dims[0] > 1 for dims in scales) >= 8


def test_any_number_of_images_is_answered(int8_file, trained):
    network = OnnxNetwork(int8_file, threads=1)
    values = trained.images_NHWC[:9].transpose(0, 3, 1, 2).astype(np.float32) / 255
    alone = np.concatenate([network(values[index : index + 1]) for index in range(9)])
    assert np.abs(network(values) - alone).max() < 1e-4


def test_excluded_layers_stay_fp32(trained, onnx_file, int8_file, tmp_path):
    path = tmp_path / "model.int8.onnx"
    write(trained, onnx_file, path, exclude=["fc", "layer4.*"])
    kept = {node.name for node in onnx.load(path).graph.node if node.op_type in ("Conv", "Gemm")}
    assert "fc" in kept
    assert len(weights(path)) < len(weights(int8_file))
    floats = [numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]
    assert any(
        array.dtype == np.float32 and array.shape == (10, *array.shape[1:]) and array.ndim == 2 for array in floats
    )


class Twice(nn.Module):
    """A network that calls one of its layers twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.fc = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 10)

    def forward(self, images_NCHW):
        values = self.again(self.again(self.first(images_NCHW)).relu()).relu()
        return self.fc(values.mean((2, 3)))


@pytest.mark.parametrize(("exclude", "quantized"), [((), 2), (("again",), 1)])
def test_a_layer_that_is_called_twice_is_excluded_in_both_calls(trained, tmp_path, exclude, quantized):
    source, path = tmp_path / "model.onnx", tmp_path / "model.int8.onnx"
    formats.write(Twice(), trained.card, "onnx", source)
    write(trained, source, path, exclude)
    assert sum(array.ndim == 4 for array in weights(path)) == quantized
    assert any(node.name.startswith("again/2") for node in onnx.load(path).graph.node)


def test_the_int8_file_says_what_its_user_must_know(int8_file):
    said = {each.key: each.value for each in onnx.load(int8_file).metadata_props}
    assert json.loads(said["classes"]) == [str(digit) for digit in range(10)]
    assert said["job"] == "job_1"


def test_ranges_are_found_on_images_of_every_class(trained):
    images = calibration.Images(trained.order, 50, threads=1)
    assert len(images) == 50
    batches = list(images.batches())
    assert sum(map(len, batches)) == 50
    assert all(batch.dtype == np.float32 and batch.shape[1:] == (1, 32, 32) for batch in batches)
    assert all(batch.min() >= 0 and batch.max() <= 1 for batch in batches)
    labels = images._source.labels_N[images._chosen]
    assert len(set(labels.tolist())) == 10
