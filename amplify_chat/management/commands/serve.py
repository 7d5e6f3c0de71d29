"""`manage.py serve`: the server for production and for `make run`; drains on SIGTERM and Ctrl-C."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from amplify_chat.serving.lifecycle import AddressInUse, listening_socket, say, settle_memory


class Command(BaseCommand):
    help = "Serve on HOST:PORT until a signal comes, then drain: running answers finish, new ones are refused."
    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's form; `manage.py check` is for CI, not for each start

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne", help="default: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:
        from amplify_chat.asgi import application, wiring  # noqa: PLC0415 - builds the service, so only here

        run = _runner(options["server"])
        env = wiring.env
        try:
            listener = listening_socket(env.host, env.port)
        except AddressInUse as error:
            raise CommandError(str(error)) from error
        if reason := wiring.load_embedded():
            say(f"No embedded model here: {reason}. A scripted answer stands in, labelled as such.")
        host, port = listener.getsockname()[:2]
        say(f"Amplify Chat is ready on http://{host}:{port} ({options['server']}). Ctrl-C stops it.")
        settle_memory()
        run(application, wiring, listener)


def _runner(server: str) -> Any:
    if server == "daphne":
        from amplify_chat.serving.with_daphne import run_daphne  # noqa: PLC0415 - only the chosen server is loaded

        return run_daphne
    try:
        from amplify_chat.serving.with_uvicorn import run_uvicorn  # noqa: PLC0415
    except ImportError as error:
        raise CommandError("uvicorn is not installed: pip install -r requirements/uvicorn.txt") from error
    return run_uvicorn
