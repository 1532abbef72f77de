"""`python -m gateway COMMAND`: one image, five commands, each a process of its own.

api             serve the REST API
relay           publish the events of committed uploads to Kafka
writer          write results from Kafka to Postgres and Redis
migrate         bring the database schema and the topics up to date, then end
register-model  store a model's manifest and labels and make it the active one, then end
"""

import argparse
import sys
from pathlib import Path

import structlog

from contracts.manifest import ManifestError
from gateway import bootstrap
from gateway.settings import GatewaySettings, SettingsError, from_environment
from runtime import logs
from runtime.lifecycle import Lifecycle, Stopped

log = structlog.get_logger(__name__)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("api", "relay", "writer", "migrate"):
        commands.add_parser(name)
    register = commands.add_parser("register-model")
    register.add_argument("directory", type=Path, help="a model version with its manifest.json")
    options = parser.parse_args(arguments)

    try:
        settings = from_environment()
    except SettingsError as exc:
        parser.error(str(exc))
    logs.configure(f"gateway-{options.command}", settings.log_format, settings.log_level)
    lifecycle = Lifecycle()
    lifecycle.install_signal_handlers()
    try:
        _run(options, settings, lifecycle)
    except (ManifestError, OSError) as exc:
        log.error("cannot go on", action=options.command, error=str(exc))
        return 1
    except Stopped:
        return 0
    return 0


def _run(options: argparse.Namespace, settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    match options.command:
        case "api":
            bootstrap.run_api(settings, lifecycle)
        case "relay":
            bootstrap.run_relay(settings, lifecycle)
        case "writer":
            bootstrap.run_writer(settings, lifecycle)
        case "migrate":
            bootstrap.run_migrate(settings, lifecycle)
        case "register-model":
            bootstrap.run_register(settings, lifecycle, options.directory)


if __name__ == "__main__":
    sys.exit(main())
