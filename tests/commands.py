"""Commands: what ``checkout-proxy`` says to whoever types it."""

import os
import subprocess
import sys
from typing import TypeAlias

from click.testing import CliRunner

from proxy.cli import main
from tests.running import ours

Done: TypeAlias = "subprocess.CompletedProcess[str]"


def run(*arguments: str, stdin: str | bytes = "", **environ: str) -> Done:
    """Run a command in this process: to start one of its own takes a second of a processor."""
    foreign: dict[str, str | None] = dict.fromkeys(_foreign())
    done = CliRunner().invoke(main, arguments, input=stdin, env={**foreign, **environ})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def run_apart(*arguments: str, stdin: str = "", **environ: str) -> Done:
    """Run a command as a process of its own, as its user does."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        env=ours(environ),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _foreign() -> list[str]:
    return [name for name in os.environ if name.startswith("CHECKOUT_PROXY_")]
