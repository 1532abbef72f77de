"""A CLIP model of open_clip in, a version of the Triton repository out, held to the original.

    .venv-export/bin/python -m build.export_tensorrt                    # ViT-B-32 for the CPU, bf16
    .venv-export/bin/python -m build.export_tensorrt --precision int8 --calibration PHOTOS
    .venv-export/bin/python -m build.export_tensorrt --runtime tensorrt # for this GPU
    .venv-export/bin/python -m build.export_tensorrt --runtime tensorrt --compute-capability 8.9
    .venv-export/bin/python -m build.export_tensorrt --runtime onnx     # portable, in float32

    ... --model ViT-L-14 --pretrained datacomp_xl_s13b_b90k             # any other of open_clip
    ... --model ViT-B-32 --checkpoint FILE                              # weights on this machine
    ... --model hf-hub:ORGANISATION/NAME                                # any repository of the hub

    .venv-export/bin/python -m build.export_tensorrt --list             # versions, and which serve
    .venv-export/bin/python -m build.export_tensorrt --activate-version 2   # forward, or back

An export whose embeddings drift from open_clip's is not installed. With --checkpoint, --pretrained
TAG names the tag whose colours and activation function the file was trained with, where they are
not plain CLIP's. It takes a minute or two.
"""

import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from build.exporting import options as command_line
from build.exporting import repository, tensorrt_engine
from build.exporting.options import Options
from build.exporting.refusal import FAILED, CannotExport

INTERRUPTED, TERMINATED = 130, 143  # as shells say it


def main(arguments: Sequence[str]) -> int:
    try:
        options = command_line.parse(arguments, __doc__)
        if options.list_versions:
            print(repository.listing(options.output))
        elif options.activate_version is not None:
            print(repository.activate(options.output, options.activate_version))
        else:
            export(options)
    except CannotExport as exc:
        print(f"export_tensorrt: {exc}", file=sys.stderr)
        return exc.exit_code
    except OSError as exc:
        print(f"export_tensorrt: {repository.failed(options.output, exc)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("export_tensorrt: interrupted; nothing is left half done", file=sys.stderr)
        return INTERRUPTED
    return 0


def export(options: Options) -> None:
    """Raises CannotExport, or OSError where the disk is full; then nothing was installed."""
    repository.check(options.output)
    if options.runtime == "tensorrt":
        tensorrt_engine.check(options.plan_cache, options.compute_capability)
    print(f"{options.model} to {options.runtime} {options.precision}:")

    # Imported here: PyTorch takes seconds, and a mistyped option should not.
    from build.exporting import (
        checkpoint,
        converted,
        float32_text,
        gate,
        graph,
        label_set,
        manifest,
        parity,
        photos,
        preprocessing,
        report,
        tokenizer,
        towers,
    )

    stages = report.Stages()
    chosen = photos.choose(options, report.say)

    with stages.of("loading"):
        clip = checkpoint.load(options)
        repository.check_room(options.output, clip.weights_bytes)
        tokens = tokenizer.of(
            clip.tokenizer,
            clip.context_length,
            is_causal=towers.is_causal(clip.model),
            has_fixed_length=options.runtime == "tensorrt",
        )

    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        scratch = Path(folder)

        with stages.of("ONNX graphs"):
            in_half = options.precision == "fp16"
            graphs = graph.of(clip, tokens, in_half=in_half, scratch=scratch / "onnx")

        with stages.of("label set"):
            engine = float32_text.engine(clip, tokens, graphs)
            labels = label_set.of(clip, tokens, engine, options.templates)

        with stages.of("model files"):
            prepare = preprocessing.served_by(options.output)
            calibration = preprocessing.prepare_all(chosen.calibration, clip.preprocessing, prepare)
            model = converted.convert(options, graphs, calibration, scratch, report.say)

        with stages.of("parity"):
            parities = parity.of(clip, model, tokens, labels, chosen.parity, prepare)
            gate.hold(parities, options.precision)

        with stages.of("speed"):
            speeds = {} if model.not_run else report.speed(model.image, graphs.size_px)

        with stages.of("installing"):
            version = repository.install(
                options.output,
                model.files(labels.as_bytes(), tokens.served.to_str()),
                manifest.fields(options, clip, tokens, labels, model, parities, len(calibration)),
            )

        print(report.table(model, parities, speeds, stages.took_s))

    print(f"installed as version {version} in {options.output}")
    serve(options, version, model.not_run)


def serve(options: Options, version: str, not_run: str | None) -> None:
    """Activates the version, if that is wanted and Triton can load it."""
    if not_run:
        print(f"the engine itself was not run, only its graph: {not_run}")
    if options.activate is False:
        print(f"not activated: --activate-version {version} does it")
        return
    try:
        print(repository.activate(options.output, version))
    except CannotExport as exc:
        if options.activate:
            raise
        print(exc)


if __name__ == "__main__":
    # Left to itself it would end the process with gigabytes still in TMPDIR.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.exit(main(sys.argv[1:]))
