"""`python -m bench.upstream [--port N] [--models a,b]`: serve until SIGTERM or SIGINT."""

import argparse
import asyncio
import gc
import signal

import uvloop

from bench.limits import raise_open_files
from bench.upstream.server import Mock, start


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description="The mock upstream.")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one (default)")
    parser.add_argument("--models", default="mock", help="comma list that GET /v1/models shows; any name is answered")
    return parser.parse_args()


async def _serve(port: int, models: list[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await start(Mock(models), port)
    gc.freeze()
    gc.set_threshold(50_000)  # the collector would show as a stall in everybody's figures
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await stop.wait()
    server.close()  # not wait_closed(): open streams end with the process


def main() -> None:
    arguments = _arguments()
    raise_open_files()
    uvloop.run(_serve(arguments.port, arguments.models.split(",")))


if __name__ == "__main__":
    main()
