"""Every model configuration keeps to the tensor contract, whichever runtime it is for."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build.model_versions import MODELS
from contracts.tensors import (
    BYTES_INPUT,
    BYTES_MODEL,
    BYTES_OUTPUT,
    IMAGE_INPUT,
    IMAGE_MODEL,
    IMAGE_OUTPUT,
    MAX_BATCH_SIZE,
    PROMPT_INPUT,
    PROMPT_MODEL,
    PROMPT_OUTPUT,
    TEXT_ATTENTION_MASK,
    TEXT_INPUT_IDS,
    TEXT_MODEL,
    TEXT_OUTPUT,
)

REPOSITORY = Path(__file__).parent.parent.parent / "model_repository"
CONFIGURATIONS = sorted([*REPOSITORY.glob("*/config.pbtxt"), *REPOSITORY.glob("*/configs/*.pbtxt")])
DELAY_LIMIT_US = 5_000
QUEUE_TIMEOUT_LIMIT_US = 5_000_000  # the platform gives up a call then: triton_timeout_s
GPU = [REPOSITORY / model / "config.pbtxt" for model in MODELS]
CPU = [REPOSITORY / model / "configs" / "cpu.pbtxt" for model in MODELS]
TOWERS = (IMAGE_MODEL, TEXT_MODEL)
GPU_TOWERS = [REPOSITORY / model / "config.pbtxt" for model in TOWERS]
CPU_TOWERS = [REPOSITORY / model / "configs" / "cpu.pbtxt" for model in TOWERS]
PYTHON = [path for path in (*GPU, *CPU) if path not in (*GPU_TOWERS, *CPU_TOWERS)]

INPUTS = {
    IMAGE_MODEL: {IMAGE_INPUT: ("TYPE_UINT8", 3)},
    TEXT_MODEL: {TEXT_INPUT_IDS: ("TYPE_INT64", 1), TEXT_ATTENTION_MASK: ("TYPE_INT64", 1)},
    BYTES_MODEL: {BYTES_INPUT: ("TYPE_STRING", 1)},
    PROMPT_MODEL: {PROMPT_INPUT: ("TYPE_STRING", 1)},
}
OUTPUTS = {
    IMAGE_MODEL: IMAGE_OUTPUT,
    TEXT_MODEL: TEXT_OUTPUT,
    BYTES_MODEL: BYTES_OUTPUT,
    PROMPT_MODEL: PROMPT_OUTPUT,
}


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
    assert config.name in path.parts
    assert tensors(config.input) == INPUTS[config.name]
    assert tensors(config.output) == {OUTPUTS[config.name]: ("TYPE_FP32", 1)}
    if config.name == IMAGE_MODEL:
        height, width, channels = config.input[0].dims
        assert (height, channels) == (width, 3)
    if config.name in {BYTES_MODEL, PROMPT_MODEL}:
        assert list(config.input[0].dims) == [1]


@each(CONFIGURATIONS)
def test_requests_batch_without_waiting_for_long(path: Path) -> None:
    config = parse(path)
    assert config.max_batch_size == MAX_BATCH_SIZE
    assert config.HasField("dynamic_batching")
    batching = config.dynamic_batching
    assert batching.max_queue_delay_microseconds <= DELAY_LIMIT_US
    assert not batching.preferred_batch_size


@each(CPU)
def test_the_cpu_has_no_queue_policy_which_stalls_lone_requests(path: Path) -> None:
    batching = parse(path).dynamic_batching
    assert not batching.HasField("default_queue_policy")
    assert not batching.priority_levels


@each(GPU)
def test_the_gpus_queues_are_bounded_in_length_and_time(path: Path) -> None:
    policy = parse(path).dynamic_batching.default_queue_policy
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert 0 < policy.default_timeout_microseconds <= QUEUE_TIMEOUT_LIMIT_US
    assert policy.allow_timeout_override
    assert policy.max_queue_size >= MAX_BATCH_SIZE


def test_on_the_gpu_bulk_work_can_ask_to_come_second() -> None:
    batching = parse(REPOSITORY / IMAGE_MODEL / "config.pbtxt").dynamic_batching
    assert (batching.priority_levels, batching.default_priority_level) == (2, 1)


@pytest.mark.parametrize("of", [GPU, CPU], ids=["gpu", "cpu"])
def test_all_models_serve_the_same_versions(of: list[Path]) -> None:
    policies = [list(parse(path).version_policy.specific.versions) for path in of]
    assert policies[0]
    assert policies == [policies[0]] * len(MODELS)


@each([*GPU_TOWERS, *CPU_TOWERS])
def test_a_model_is_warm_before_it_is_ready(path: Path) -> None:
    config = parse(path)
    inputs = {tensor.name: list(tensor.dims) for tensor in config.input}
    assert config.model_warmup
    for warmup in config.model_warmup:
        assert set(warmup.inputs) == set(inputs)
        for name, sample in warmup.inputs.items():
            pairs = zip(sample.dims, inputs[name], strict=True)
            assert all(declared in (given, -1) for given, declared in pairs)


@each(CPU_TOWERS)
def test_the_cpu_runs_openvino_or_onnx_runtime_on_the_cpu(path: Path) -> None:
    config = parse(path)
    assert (config.backend, Path(config.default_model_filename).suffix) in {
        ("openvino", ".onnx"),
        ("openvino", ".xml"),
        ("onnxruntime", ".onnx"),
    }
    kinds = [group.kind for group in config.instance_group]
    assert kinds == [model_config_pb2.ModelInstanceGroup.KIND_CPU]


@each(GPU_TOWERS)
def test_the_gpu_runs_tensorrt_on_the_gpu(path: Path) -> None:
    config = parse(path)
    assert config.backend == "tensorrt"
    assert list(config.cc_model_filenames.values()) == [config.default_model_filename]
    assert config.default_model_filename.endswith(".plan")
    kinds = [group.kind for group in config.instance_group]
    assert kinds == [model_config_pb2.ModelInstanceGroup.KIND_GPU]


@each(PYTHON)
def test_decoding_and_tokenising_is_python_on_the_cpu(path: Path) -> None:
    config = parse(path)
    assert (config.backend, config.default_model_filename) == ("python", "")
    kinds = [group.kind for group in config.instance_group]
    assert kinds == [model_config_pb2.ModelInstanceGroup.KIND_CPU]


@each(GPU_TOWERS)
def test_a_cuda_graph_serves_every_batch_size(path: Path) -> None:
    config = parse(path)
    dims = {tensor.name: list(tensor.dims) for tensor in config.input}
    cuda = config.optimization.cuda
    assert cuda.graphs
    served: list[int] = []
    for spec in cuda.graph_spec:
        lower = spec.graph_lower_bound.batch_size or spec.batch_size
        served += range(lower, spec.batch_size + 1)
        assert {name: list(shape.dim) for name, shape in spec.input.items()} == dims
        if spec.HasField("graph_lower_bound"):
            least = spec.graph_lower_bound.input
            assert {name: list(shape.dim) for name, shape in least.items()} == dims
    assert served == list(range(1, MAX_BATCH_SIZE + 1))


@pytest.mark.parametrize("of", [GPU, CPU], ids=["gpu", "cpu"])
def test_all_embeddings_meet_in_one_space(of: list[Path]) -> None:
    dims = [list(parse(path).output[0].dims) for path in of]
    assert dims == [dims[0]] * len(MODELS)
