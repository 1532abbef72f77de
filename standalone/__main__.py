"""`python -m standalone up` or `ps`: options go in, an exit code comes out."""

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from standalone import ps
from standalone.console import Console
from standalone.processes.data_folder import DataFolder
from standalone.settings import StandaloneSettings

WRONG_USE = 2
NOTHING_RUNS = 3

_UP_OPTIONS = ("data_dir", "gateway_port", "triton_grpc_port", "kafka", "dispatchers", "model")
_PS_OPTIONS = ("data_dir",)


def main(arguments: Sequence[str] | None = None) -> int:
    options = vars(_parser().parse_args(arguments))
    command, as_json = options.pop("command"), options.pop("json", False)
    try:
        settings = StandaloneSettings(
            **{name: value for name, value in options.items() if value is not None}
        )
    except ValidationError as exc:
        print(_explained(exc), file=sys.stderr)
        return WRONG_USE
    if command == "ps":
        return _show_processes(settings, as_json)
    from standalone.up import up  # brings every client library along, which `ps` can do without

    return up(settings, Console())


def _show_processes(settings: StandaloneSettings, as_json: bool) -> int:
    folder = DataFolder(settings.data_dir)
    rows = folder.process_table.read()
    if as_json:
        print(ps.as_json(rows))
    elif rows:
        print(ps.as_lines(rows))
    if any(row.pid is not None for row in rows):
        return 0
    print(f"No platform runs on the data folder {folder.shown()}.", file=sys.stderr)
    return NOTHING_RUNS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="standalone", description="The platform on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="run the whole platform until Ctrl-C")
    _add_settings(up_parser, _UP_OPTIONS)
    ps_parser = commands.add_parser("ps", help="list the processes of a running platform")
    _add_settings(ps_parser, _PS_OPTIONS)
    ps_parser.add_argument("--json", action="store_true", help="print a JSON array, nothing else")
    return parser


def _add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """An option for each setting; its values are checked where the settings are declared."""
    for name in names:
        field = StandaloneSettings.model_fields[name]
        parser.add_argument(
            "--" + name.replace("_", "-"),
            metavar="VALUE",
            help=f"{field.description} (STANDALONE_{name.upper()}, else {field.default})",
        )


def _explained(exc: ValidationError) -> str:
    lines = []
    for error in exc.errors():
        name = "STANDALONE_" + "_".join(map(str, error["loc"])).upper() if error["loc"] else ""
        lines.append(f"{name} is {error['input']!r}: {error['msg']}" if name else error["msg"])
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
