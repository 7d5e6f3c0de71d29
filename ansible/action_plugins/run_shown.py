"""Run a command here and show its lines while it runs: `ansible.builtin.command` shows nothing before the end.

    - name: Apply the plan
      run_shown:
        argv: [terraform, apply, plan.tfplan]
        chdir: /where/to      # default: the playbook's folder
        seconds: 3600         # kill it after that; default: never
        show: false           # keep the lines to yourself, for what may hold secrets

Returns rc, stdout and stdout_lines (both streams together). Fails when rc is not 0; skips in check mode.
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"argv", "chdir", "seconds", "show"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "skipped": True, "msg": "Not run in check mode."}
        argv = [str(part) for part in self._task.args.get("argv") or ()]
        if not argv:
            raise AnsibleActionFail("run_shown needs argv: the command and its arguments, as a list.")
        shown = self._task.args.get("show", True) and not self._task.no_log
        rc, lines = self._run(argv, shown=shown)
        failure = {"failed": True, "msg": _last_words(argv, rc, lines)} if rc else {}
        return {**result, "changed": True, "rc": rc, "stdout": "\n".join(lines), "stdout_lines": lines, **failure}

    def _run(self, argv: list[str], *, shown: bool) -> tuple[int, list[str]]:
        lines = []
        try:
            with self._process(argv) as process, _time_limit(process, self._task.args.get("seconds")):
                for line in process.stdout or ():
                    lines.append(line.rstrip("\n"))
                    if shown:
                        display.display(f"  {lines[-1]}")
        except OSError as error:
            raise AnsibleActionFail(f"{argv[0]} cannot be started: {error.strerror}. Is it installed?") from error
        return process.returncode, lines

    def _process(self, argv: list[str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # noqa: S603 - that is what it is for
            argv,
            cwd=self._task.args.get("chdir") or self._loader.get_basedir(),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def _environment(self) -> dict[str, str]:
        """The play's and the task's `environment:` over our own."""
        environment = dict(os.environ, PYTHONUNBUFFERED="1")
        for layer in self._task.environment or ():
            templated = self._templar.template(layer)
            environment.update({str(name): str(value) for name, value in (templated or {}).items()})
        return environment


@contextmanager
def _time_limit(process: "subprocess.Popen[str]", seconds: Any) -> Iterator[None]:
    timer = threading.Timer(float(seconds), process.kill) if seconds else None
    if timer:
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()


def _last_words(argv: list[str], rc: int, lines: list[str]) -> str:
    said = [line for line in lines if line.strip()]
    return said[-1] if said else f"{argv[0]} ended with {rc} and said nothing."
