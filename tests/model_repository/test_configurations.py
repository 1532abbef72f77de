"""Every model configuration keeps to the tensor contract, whichever runtime it is for."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from contracts.tensors import (
    IMAGE_INPUT,
    IMAGE_MODEL,
    IMAGE_OUTPUT,
    IMAGE_SIZE_PX,
    MAX_BATCH_SIZE,
    TEXT_ATTENTION_MASK,
    TEXT_INPUT_IDS,
    TEXT_MODEL,
    TEXT_OUTPUT,
)

REPOSITORY = Path(__file__).parent.parent.parent / "model_repository"
CONFIGURATIONS = sorted([*REPOSITORY.glob("*/config.pbtxt"), *REPOSITORY.glob("*/configs/*.pbtxt")])
DELAY_LIMIT_US = 5_000
GPU = [REPOSITORY / model / "config.pbtxt" for model in (IMAGE_MODEL, TEXT_MODEL)]
CPU = [REPOSITORY / model / "configs" / "cpu.pbtxt" for model in (IMAGE_MODEL, TEXT_MODEL)]


def parse(path: Path) -> Any:
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def tensors(described: Any) -> dict[str, tuple[str, int]]:
    """Name to type and number of dimensions."""
    type_name = model_config_pb2.DataType.Name
    return {tensor.name: (type_name(tensor.data_type), len(tensor.dims)) for tensor in described}


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "path", paths, ids=lambda path: str(path.relative_to(REPOSITORY))
    )


def test_there_is_one_for_each_model_and_kind_of_machine() -> None:
    assert sorted(CONFIGURATIONS) == sorted([*GPU, *CPU])


@each(CONFIGURATIONS)
def test_tensors_are_those_of_the_contract(path: Path) -> None:
    config = parse(path)
    if config.name == IMAGE_MODEL:
        assert tensors(config.input) == {IMAGE_INPUT: ("TYPE_UINT8", 3)}
        assert list(config.input[0].dims) == [IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3]
        assert tensors(config.output) == {IMAGE_OUTPUT: ("TYPE_FP32", 1)}
    else:
        assert config.name == TEXT_MODEL
        expected = ("TYPE_INT64", 1)
        assert tensors(config.input) == {TEXT_INPUT_IDS: expected, TEXT_ATTENTION_MASK: expected}
        assert tensors(config.output) == {TEXT_OUTPUT: ("TYPE_FP32", 1)}


@each(CONFIGURATIONS)
def test_requests_batch_without_waiting_for_long(path: Path) -> None:
    config = parse(path)
    assert config.max_batch_size == MAX_BATCH_SIZE
    assert config.HasField("dynamic_batching")
    batching = config.dynamic_batching
    assert batching.max_queue_delay_microseconds <= DELAY_LIMIT_US
    assert not batching.preferred_batch_size
    assert not batching.HasField("default_queue_policy")  # it stalls lone requests: see the files


@each(CONFIGURATIONS)
def test_a_model_is_warm_before_it_is_ready(path: Path) -> None:
    config = parse(path)
    inputs = {tensor.name: list(tensor.dims) for tensor in config.input}
    assert config.model_warmup
    for warmup in config.model_warmup:
        assert set(warmup.inputs) == set(inputs)
        for name, sample in warmup.inputs.items():
            pairs = zip(sample.dims, inputs[name], strict=True)
            assert all(declared in (given, -1) for given, declared in pairs)


@each(CPU)
def test_the_cpu_runs_openvino_on_the_cpu(path: Path) -> None:
    config = parse(path)
    assert (config.backend, config.default_model_filename) == ("openvino", "model.onnx")
    kinds = [group.kind for group in config.instance_group]
    assert kinds == [model_config_pb2.ModelInstanceGroup.KIND_CPU]


@each(GPU)
def test_the_gpu_runs_tensorrt_on_the_gpu(path: Path) -> None:
    config = parse(path)
    assert (config.backend, config.default_model_filename) == ("tensorrt", "model.plan")
    kinds = [group.kind for group in config.instance_group]
    assert kinds == [model_config_pb2.ModelInstanceGroup.KIND_GPU]


def test_a_cuda_graph_serves_every_batch_size() -> None:
    config = parse(REPOSITORY / IMAGE_MODEL / "config.pbtxt")
    cuda = config.optimization.cuda
    assert cuda.graphs
    served: list[int] = []
    for spec in cuda.graph_spec:
        lower = spec.graph_lower_bound.batch_size or spec.batch_size
        served += range(lower, spec.batch_size + 1)
        assert list(spec.input[IMAGE_INPUT].dim) == list(config.input[0].dims)
    assert served == list(range(1, MAX_BATCH_SIZE + 1))


@pytest.mark.parametrize("of", [GPU, CPU], ids=["gpu", "cpu"])
def test_pictures_and_texts_meet_in_one_space(of: list[Path]) -> None:
    image, text = map(parse, of)
    assert list(image.output[0].dims) == list(text.output[0].dims)
