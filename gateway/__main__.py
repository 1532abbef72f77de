"""`python -m gateway COMMAND`: one image, six commands, each a process of its own.

api             serve the REST API
relay           publish the events of committed uploads to Kafka
writer          write results from Kafka to Postgres and Redis
migrate         bring the database schema and the topics up to date, then end
register-model  store a model's manifest and labels and make it the active one, then end
replay          put images that failed back into the queue, then end
"""

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path

import structlog

from contracts.manifest import ManifestError
from gateway import bootstrap
from gateway.replay import Choice
from gateway.settings import GatewaySettings, from_environment
from runtime import logs
from runtime.errors import Permanent, Retryable
from runtime.lifecycle import Lifecycle, Stopped
from runtime.settings import SettingsError

log = structlog.get_logger(__name__)


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "replay" and not _has_choice(options):
        parser.error("choose which: --id, --reason, --since, --until, or --all")
    try:
        settings = from_environment()
    except SettingsError as exc:
        parser.error(str(exc))
    logs.configure(f"gateway-{options.command}", settings.log_format, settings.log_level)
    lifecycle = Lifecycle()
    lifecycle.install_signal_handlers()
    try:
        _run(options, settings, lifecycle)
    except (ManifestError, OSError, Retryable, Permanent) as exc:
        log.error("cannot go on", action=options.command, error=str(exc))
        return 1
    except Stopped:
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
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
    replay = commands.add_parser("replay")
    replay.add_argument("--id", type=int, action="append", help="an image; may be repeated")
    replay.add_argument("--reason", help="a code, such as undecodable_image")
    replay.add_argument(
        "--since", type=_moment, metavar="TIME", help="failed at or after, ISO 8601"
    )
    replay.add_argument("--until", type=_moment, metavar="TIME", help="failed before")
    replay.add_argument("--all", action="store_true", help="every image that failed")
    replay.add_argument("--dry-run", action="store_true", help="only count them")
    return parser


def _has_choice(options: argparse.Namespace) -> bool:
    return bool(options.all or options.id or options.reason or options.since or options.until)


def _moment(text: str) -> datetime:
    """Without an offset it is UTC, as in the API."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 takes no Z
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


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
        case "replay":
            choice = Choice(options.id, options.reason, options.since, options.until)
            bootstrap.run_replay(settings, lifecycle, choice, print, dry_run=options.dry_run)
        case "register-model":
            bootstrap.run_register(settings, lifecycle, options.directory)


if __name__ == "__main__":
    sys.exit(main())
