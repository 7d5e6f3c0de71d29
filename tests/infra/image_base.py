"""Images where there is no Docker engine: buildah builds and runs them, debootstrap makes the image with Python.

Debian's: `apt install buildah debootstrap`. Needs Linux and root; a chroot is no sandbox, it is enough for a test.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

SUITE = "bookworm"
PACKAGES = "python3,python3-pip,python-is-python3,ca-certificates"
PYTHON_IMAGE = "localhost/python"
# Kept between runs, as it takes a minute to make and holds nothing of ours.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "amplify-chat"

# Becomes what the image declares, on a file system that is what production has. Prints the process id first, which
# stays the same through both `exec`.
READ_ONLY = """
mount -o remount,bind,ro / && mount -t tmpfs -o mode=1777 tmpfs /tmp || exit 99
user=$1 group=$2; shift 2; echo "pid $$"
exec setpriv --reuid "$user" --regid "$group" --clear-groups --bounding-set -all --no-new-privs "$@"
"""


def missing() -> str | None:
    """Why no image can be built here."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        return "buildah in a chroot needs Linux and root"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "buildah in a chroot mounts file systems, and here that is not allowed"
    absent = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)} (apt install {' '.join(absent)})" if absent else None


class NoDebian(Exception):
    """debootstrap could not fetch Debian; the message is the end of what it said."""


class Buildah:
    """A store of images in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # vfs works everywhere and copies the whole file system for every step.
        self._driver = "overlay" if "\toverlay\n" in Path("/proc/filesystems").read_text() else "vfs"
        folder.mkdir(parents=True)

    def command(self, *arguments: str | Path) -> list[str]:
        store = ["--root", f"{self._folder}/store", "--runroot", f"{self._folder}/run"]
        return ["buildah", *store, "--storage-driver", self._driver, *map(str, arguments)]

    def __call__(self, *arguments: str | Path) -> str:
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"buildah {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()

    def remove(self) -> None:
        """Give the disk back: gigabytes."""
        self("rm", "--all")
        # The driver mounts its own folder onto itself.
        subprocess.run(["umount", f"{self._folder}/store/overlay"], capture_output=True, check=False)
        shutil.rmtree(self._folder)

    def make_python_image(self) -> None:
        container = self("from", "scratch")
        self("add", "--quiet", container, _debian_with_python(), "/")
        # Debian's pip trusts what the system trusts: here, what this machine does.
        self("copy", "--quiet", container, "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
        self("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        self("commit", "--quiet", "--rm", "--format", "docker", container, PYTHON_IMAGE)

    def build(self, context: Path, target: str, **arguments: str) -> "Image":
        """Build a target of the Dockerfile, with packages from where this machine's pip gets them."""
        (self._folder / "pip.conf").write_text(_pip_conf())
        given = {"PYTHON_IMAGE": PYTHON_IMAGE, **arguments}
        # Layers: the second target starts where the first one branched off. Docker's format: OCI's has no HEALTHCHECK.
        self(
            *("build", "--quiet", "--layers", "--format", "docker", "--isolation", "chroot", "--network", "host"),
            *(f"--build-arg={name}={value}" for name, value in given.items()),
            f"--secret=id=pip.conf,src={self._folder}/pip.conf",
            *("--target", target, "--tag", f"localhost/amplify-chat:{target}", context),
        )
        return Image(self, f"localhost/amplify-chat:{target}")


@dataclass(frozen=True)
class Image:
    store: Buildah
    name: str

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the image declares, in Docker's words."""
        return json.loads(self.store("inspect", "--type", "image", self.name))["Docker"]["config"]

    @cached_property
    def container(self) -> str:
        return self.store("from", self.name)

    def run(self, *command: str) -> str:
        """Run a command as the image's user."""
        return self.store("run", "--isolation", "chroot", self.container, "--", *command)

    def is_healthy(self, port: int) -> bool:
        """What the image's own health check says."""
        check = self.config["Healthcheck"]["Test"][1:]
        arguments = ("run", "--isolation", "chroot", "--network", "host", f"--env=PORT={port}", self.container, "--")
        return subprocess.run(self.store.command(*arguments, *check), capture_output=True, check=False).returncode == 0

    @contextmanager
    def started(self, log: Path, *command: str, **env: str) -> Iterator["Container"]:
        """Run the image's entry point with `command`, by default its own, on a read-only file system with a tmpfs."""
        variables = [f"--env={name}={value}" for name, value in env.items()]
        user, group = self.config["User"].split(":")
        entry = [*self.config["Entrypoint"], *(command or self.config["Cmd"])]
        arguments = self.store.command(
            *("run", "--isolation", "chroot", "--network", "host", "--user", "0:0", "--cap-add", "CAP_SYS_ADMIN"),
            *(*variables, self.container, "--", "sh", "-c", READ_ONLY, "sh", user, group, *entry),
        )
        with log.open("wb") as output:
            process = subprocess.Popen(arguments, stdout=output, stderr=output, start_new_session=True)
        try:
            yield Container(process, log)
        finally:
            if process.poll() is None:
                process.terminate()  # buildah takes along what it has started
                process.wait(15)


@dataclass(frozen=True)
class Container:
    """`process` is buildah, which ends as what it runs does, but does not hand signals on; those go to `pid`."""

    process: subprocess.Popen[bytes]
    _log: Path

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def pid(self) -> int:
        return int(self.log.partition("\n")[0].removeprefix("pid "))


def _debian_with_python() -> Path:
    """The archive of a minimal Debian with Python. Raises NoDebian."""
    archive = CACHE / f"{SUITE}-python.tar"
    if not archive.exists():
        tree = CACHE / f"{SUITE}-{os.getpid()}"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tree)]
        tree.mkdir(parents=True)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise NoDebian(f"debootstrap: {(done.stdout + done.stderr)[-1000:]}")
            part = tree.with_suffix(".tar")
            subprocess.run(["tar", "-C", str(tree), "-cf", str(part), "."], check=True)
            part.rename(archive)  # whole or not there
        finally:
            shutil.rmtree(tree)
    return archive


def _pip_conf() -> str:
    """What this machine's pip is told about where packages are, except for what lies on its own disk."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings: dict[str, list[str]] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout"):
            settings[option] = [word for word in value.strip("'\"").split() if not word.startswith(("file:", "/"))]
    return "[global]\n" + "".join(f"{name} = {' '.join(words)}\n" for name, words in settings.items() if words)
