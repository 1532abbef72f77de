"""An ONNX graph in; a serialized TensorRT engine (a plan) out, the cached one where it fits."""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build.artefacts import only_one_builder, sha256_of
from build.exporting import plan_cache
from build.exporting.nvidia_gpu import find_gpu
from build.exporting.tensorrt_toolkit import (
    CannotBuild,
    Choice,
    Flavour,
    choose,
    installed,
    load,
    log_of,
    target,
)
from contracts.tensors import MAX_BATCH_SIZE

BATCHES = (1, 16, MAX_BATCH_SIZE)  # least, best and largest
WORKSPACE_LIMIT_BYTES = 4 << 30  # scratch for one layer; without a limit, all of the GPU's memory
STRONGLY_TYPED = "strongly typed"

Say = Callable[[str], None]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """An optimization profile: input name to its least, its best and its largest shape."""

    shapes: Mapping[str, tuple[Shape, Shape, Shape]]

    @classmethod
    def of_batches(cls, shape_of_one: Mapping[str, Shape]) -> "Profile":
        """For inputs whose first dimension, which is not given, is that of the batch."""
        least, best, largest = BATCHES
        return cls(
            {
                name: ((least, *shape), (best, *shape), (largest, *shape))
                for name, shape in shape_of_one.items()
            }
        )

    def as_text(self) -> str:
        return json.dumps(self.shapes, sort_keys=True)


@dataclass(frozen=True)
class Plan:
    """A plan in the cache. `build_s` is what building it took, now or when it was cached."""

    path: Path
    file_name: str
    facts: dict[str, str]
    build_s: float
    from_cache: bool


def check(cache: Path, compute_capability: str | None) -> None:
    """Raises CannotBuild where `build_plan` would, whatever the graph: told before the work."""
    choice = choose(installed(), find_gpu(), compute_capability)
    trt = load(choice.flavour)
    if choice.flavour is Flavour.TENSORRT_RTX:
        target(trt, choice)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as exc:
        raise CannotBuild(f"--plan-cache {cache} cannot be written to: {exc}") from exc


def build_plan(
    onnx: Path, name: str, profile: Profile, cache: Path, compute_capability: str | None, say: Say
) -> Plan:
    """The plan of `onnx`, under `cache`/`name`; built only where the one there does not fit.

    `compute_capability` ("8.9" or "sm89") is that of the GPU here where it is None. The graph is
    built as it is typed: half precision is for the exporter to put in. Raises CannotBuild, and
    OSError where a file cannot be read or the disk is full.
    """
    choice = choose(installed(), find_gpu(), compute_capability)
    trt = load(choice.flavour)
    wanted = _facts(choice, trt.__version__, onnx, profile)
    file_name = _file_name(choice, trt.__version__)
    path = cache / name / file_name
    with only_one_builder(cache):  # two at once on one GPU would spoil each other's timings
        try:
            facts = plan_cache.find(path, wanted)
            return Plan(path, file_name, facts, float(facts[plan_cache.BUILD_S]), from_cache=True)
        except plan_cache.MustBuild as exc:
            say(f"{name}: {exc}; building {file_name} ({choice.reason})")
        started = time.monotonic()
        content = _build(trt, choice, onnx, profile, cache, say)
        build_s = time.monotonic() - started
        facts = plan_cache.store(path, content, wanted, build_s)
    return Plan(path, file_name, facts, build_s, from_cache=False)


def _facts(choice: Choice, version: str, onnx: Path, profile: Profile) -> dict[str, str]:
    return {
        "onnx_sha256": _sha256_of_graph(onnx),
        "profile": profile.as_text(),
        "typing": STRONGLY_TYPED,
        "flavour": choice.flavour.value,
        "version": version,
        "compute_capability": choice.compute_capability,
        "gpu": choice.gpu.name if choice.gpu else plan_cache.ANY,
        "driver": choice.gpu.driver if choice.gpu else plan_cache.ANY,
    }


def _file_name(choice: Choice, version: str, kind: str = "model", suffix: str = "plan") -> str:
    flavour = choice.flavour.value.replace("_", "-")
    architecture = choice.compute_capability.replace(".", "")
    return f"{kind}-{flavour}-{version}-sm{architecture}.{suffix}"


def _sha256_of_graph(onnx: Path) -> str:
    """Over the graph and the files its weights are in, if they are not in the graph."""
    digests = [sha256_of(each) for each in (onnx, *_weight_files(onnx))]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _weight_files(path: Path) -> list[Path]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except DecodeError:
        return []  # the parser will say so
    locations = {
        entry.value
        for weight in graph.initializer
        for entry in weight.external_data
        if entry.key == "location"
    }
    return [path.parent / location for location in sorted(locations)]


def _build(trt: Any, choice: Choice, onnx: Path, profile: Profile, cache: Path, say: Say) -> bytes:
    log = log_of(trt)
    log.lines.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)  # holds weights that the network refers to
    if not parser.parse_from_file(str(onnx)):
        problems = list(_parser_errors(parser)) or log.lines
        raise CannotBuild(
            _listed(f"{trt.__name__} {trt.__version__} cannot parse {onnx.name}", problems)
        )
    config = _configured(trt, builder, profile)
    if choice.flavour is Flavour.TENSORRT_RTX:
        config.num_compute_capabilities = 1
        config.set_compute_capability(target(trt, choice), 0)
        say("no timing cache: TensorRT-RTX picks its kernels where the plan is loaded")
        plan = builder.build_serialized_network(network, config)
    else:
        timings = cache / _file_name(choice, trt.__version__, "timings", "cache")
        plan = _build_with_timings(builder, network, config, timings, say)
    if plan is None:
        raise CannotBuild(
            _listed(f"{trt.__name__} {trt.__version__} cannot build {onnx.name}", log.lines)
        )
    for line in dict.fromkeys(log.lines):
        say(line)
    return bytes(plan)


def _configured(trt: Any, builder: Any, profile: Profile) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_LIMIT_BYTES)
    shapes = builder.create_optimization_profile()
    for name, (least, best, largest) in profile.shapes.items():
        shapes.set_shape(name, least, best, largest)
    config.add_optimization_profile(shapes)
    return config


def _parser_errors(parser: Any) -> Iterator[str]:
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = (
            f"node {error.node()} {error.node_name()!r} ({error.node_operator() or 'no operator'})"
        )
        place = f"{error.file()}:{error.line()} in {error.func()}"
        yield f"{node}: {error.code().name}: {error.desc()} [{place}]"


def _listed(what: str, problems: list[str]) -> str:
    return "\n".join(
        [f"{what}:", *(f"  {number}. {each}" for number, each in enumerate(problems, 1))]
    )


def _build_with_timings(builder: Any, network: Any, config: Any, path: Path, say: Say) -> Any:
    """With what earlier builds of this TensorRT on such a GPU measured, which it adds to."""
    known = plan_cache.read_sealed(path)
    timings = config.create_timing_cache(known)
    if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):
        say(f"{path.name} was measured on another GPU or driver: measuring anew")
        timings = config.create_timing_cache(b"")
        config.set_timing_cache(timings, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    measured = bytes(timings.serialize())
    say(f"timing cache: {len(known)} bytes were known, {len(measured)} are now")
    plan_cache.write_sealed(path, measured)
    return plan
