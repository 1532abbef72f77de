"""`python -m dispatcher`: classify images from Kafka until SIGTERM."""

from dispatcher.bootstrap import run
from dispatcher.settings import DispatcherSettings
from runtime import logs
from runtime.lifecycle import Lifecycle


def main() -> None:
    settings = DispatcherSettings()  # from the environment
    logs.configure("dispatcher", settings.log_format, settings.log_level)
    lifecycle = Lifecycle()
    lifecycle.install_signal_handlers()
    run(settings, lifecycle)


if __name__ == "__main__":
    main()
