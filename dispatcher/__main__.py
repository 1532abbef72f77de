"""`python -m dispatcher`: classify images from Kafka until SIGTERM."""

import argparse

from dispatcher.bootstrap import run
from dispatcher.settings import DispatcherSettings
from runtime import logs
from runtime.lifecycle import Lifecycle
from runtime.settings import SettingsError, from_environment


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dispatcher", description=__doc__)
    parser.parse_args(arguments)
    try:
        settings = from_environment(DispatcherSettings)
    except SettingsError as exc:
        parser.error(str(exc))
    logs.configure("dispatcher", settings.log_format, settings.log_level)
    lifecycle = Lifecycle()
    lifecycle.install_signal_handlers()
    run(settings, lifecycle)


if __name__ == "__main__":
    main()
