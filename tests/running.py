"""Running: the proxy and nginx as the operator starts them, on free ports, with logs at hand."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Self

import requests

from proxy.errors import Misconfigured
from proxy.store import Store
from tests.books import lay_book

ROOT = Path(__file__).parent.parent
HOST = "shop.example.com"
# The development environment's own.
NODE = Path(sys.executable).with_name("node")

# A busy machine starts an interpreter in seconds, an idle one in a fraction.
_PATIENCE = 30.0


def free_port() -> int:
    """Return a port of 127.0.0.1 where nobody listens."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


@contextmanager
def logs_shown() -> Iterator[None]:
    """Print what every program writes meanwhile; pytest shows it where the test fails."""
    before = {program: len(program.log) for program in _programs}
    yield
    for program in _programs:
        if new := program.log[before.get(program, 0) :]:
            sys.stdout.write(f"--- {program.name}\n{new}\n")


class Program(ABC):
    """A process that is up when the block begins and gone when it ends.

    It has a process group of its own, and all of it goes. It may be stopped and started again
    inside the block. A program that does not start or stop raises, with its log.
    """

    # How long it may take to start, in seconds.
    patience = _PATIENCE

    def __init__(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._command = command
        self._env = env
        self._log: IO[bytes] | None = None
        self._whole_log = ""
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def is_up(self) -> bool:
        """Tell whether the program answers."""

    @property
    def log(self) -> str:
        """What it has written to standard output and standard error, also in earlier lives."""
        if self._log is None:
            return self._whole_log
        # Not read(): that would move the place where the child writes on.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    def start(self) -> None:
        """Return once the program answers."""
        self._process = subprocess.Popen(
            self._command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._wait_until_up(self._process)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send *number* to the main process and return its exit status."""
        assert self._process is not None, f"{self.name} is not running"
        self._process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = _PATIENCE) -> int:
        """Return the exit status of the main process, which was told to end."""
        assert self._process is not None, f"{self.name} is not running"
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._said("goes on although it was told to end")) from None
        finally:
            self.kill()

    def kill(self) -> None:
        """End all its processes with SIGKILL, as a power cut would."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_PATIENCE)
        # Its number may soon be that of a stranger.
        self._process = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._log = stack.enter_context(tempfile.TemporaryFile())
            stack.callback(self._keep_log)
            stack.callback(self.kill)
            self.start()
            _programs.append(self)
            self._end = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        _programs.remove(self)
        with self._end:
            if self._process is not None:
                self.stop()

    def _keep_log(self) -> None:
        self._whole_log, self._log = self.log, None

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.patience
        while not self.is_up():
            assert process.poll() is None, self._said(f"ended with status {process.returncode}")
            assert time.monotonic() < deadline, self._said("does not answer")
            time.sleep(0.05)

    def _said(self, what: str) -> str:
        return f"{self.name} {what}:\n{self.log}"


# What is alive, for the logs.
_programs: list[Program] = []


@contextmanager
def hang_ups(handling: signal.Handlers) -> Iterator[None]:
    """Let processes that start meanwhile ignore SIGHUP, as nohup does, or not."""
    before = signal.signal(signal.SIGHUP, handling)
    yield
    signal.signal(signal.SIGHUP, before)


# For what has to do with several web workers.
TWO = ("--workers", "2")


class Proxy(Program):
    """``python -m proxy serve``, ready when entered.

    *env* is all the proxy knows of CHECKOUT_PROXY_*; *options* are those of ``serve``. Where they
    do not say how many, there is one web worker: each takes a second of a processor to start.
    """

    def __init__(self, env: Mapping[str, str], *options: str) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        workers = () if "--workers" in options else ("--workers", "1")
        command = (
            sys.executable,
            "-m",
            "proxy",
            "serve",
            "--bind",
            self.address,
            *workers,
            *options,
        )
        super().__init__("proxy", *command, env=ours(env))
        self._has_sender = "--web-only" not in options
        self._store = env.get("CHECKOUT_PROXY_STORE", "")
        self._shop = env.get("CHECKOUT_PROXY_SHOP", "shop")

    def start(self) -> None:
        """Return once it answers; a store that is not there yet has its tables already."""
        if self._has_sender and self._store.startswith("sqlite:"):
            with suppress(Misconfigured):
                lay_book(Store.of(self._shop, self._store))
        super().start()

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


def ours(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which the proxy knows of nothing but *env*."""
    return {n: text for n, text in os.environ.items() if not _is_foreign(n)} | dict(env)


def _is_foreign(name: str) -> bool:
    # An operator's Python keeps its bytecode, and with it the proxy starts in half the time.
    return name.startswith("CHECKOUT_PROXY_") or name == "PYTHONDONTWRITEBYTECODE"


# -- nginx -------------------------------------------------------------------------------


class Nginx(Program):
    """A real nginx that includes the files of ``nginx/`` as they are shipped.

    Only addresses and paths are replaced, and what *edits* replaces; each must be there.
    *proxy* and *shop* are host and port. An X-Test-Address in a request becomes its client's
    address, as the header of a CDN would.
    """

    def __init__(
        self,
        folder: Path,
        *,
        proxy: str,
        shop: str = "127.0.0.1:9",
        edits: Mapping[str, str] | None = None,
    ) -> None:
        self._ports = free_port(), free_port()
        self.plain_url, self.url = (
            f"{scheme}://127.0.0.1:{port}"
            for scheme, port in zip(("http", "https"), self._ports, strict=True)
        )
        self.folder = folder
        self.logs = folder / "log"
        self.logs.mkdir(parents=True)
        self.certificate = _certificate(folder)
        self._configure(folder, proxy, shop, dict(edits or {}))
        self.command = (nginx() or "nginx", "-p", f"{folder}", "-c", "nginx.conf", "-e", "stderr")
        # To nginx itself $NGINX is a list of sockets that it inherits.
        env = {name: text for name, text in os.environ.items() if name != "NGINX"}
        super().__init__("nginx", *self.command, env=env)

    def is_up(self) -> bool:
        return all(listens(port) for port in self._ports)

    def check(self) -> str:
        """Return what ``nginx -t`` says."""
        command = [*self.command, "-t"]
        said = subprocess.run(
            command, env=self._env, check=True, capture_output=True, text=True, timeout=_PATIENCE
        )
        return said.stderr

    def logged(self) -> str:
        """Return what stands in all of its logs."""
        files = "\n".join(path.read_text() for path in sorted(self.logs.iterdir()))
        return f"{files}\n{self.log}"

    def _configure(self, folder: Path, proxy: str, shop: str, edits: dict[str, str]) -> None:
        http_port, https_port = self._ports
        shipped = {path.name: path.read_text() for path in (ROOT / "nginx").glob("*.conf")}
        edits |= {
            "listen 80;": f"listen 127.0.0.1:{http_port};",
            "listen [::]:80;": "",
            "127.0.0.1:3000": shop,
            "server 127.0.0.1:8000;": f"server {proxy};",
            "/etc/letsencrypt/live/shop.example.com/fullchain.pem": f"{folder}/certificate.pem",
            "/etc/letsencrypt/live/shop.example.com/privkey.pem": f"{folder}/key.pem",
            "/etc/nginx/checkout-proxy/checkout-proxy.conf;": f"{folder}/checkout-proxy.conf;",
            "/var/www/letsencrypt": f"{folder}/letsencrypt",
            "/var/cache/nginx-checkout-proxy": f"{folder}/cache",
            "/var/log/nginx/": f"{self.logs}/",
            **_http2(f"127.0.0.1:{https_port}"),
        }
        for name, text in _edited(shipped, edits).items():
            (folder / name).write_text(text)
        # Only root may say whose the workers are, and root's could not read the test's folder.
        user = "user root root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_MAIN.format(user=user, folder=folder))


def nginx() -> str | None:
    """Return the path of nginx, or ``None`` where there is none."""
    found = os.environ.get("NGINX") or shutil.which("nginx") or "/usr/sbin/nginx"
    return shutil.which(found)


# What stands around the shipped files: everything that would else be outside of the folder.
_MAIN = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/log/error.log;
events {{ worker_connections 256; }}
http {{
    types {{ text/html html; application/javascript js; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    access_log {folder}/log/access.log;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Test-Address;
    include {folder}/checkout-proxy-http.conf;
    include {folder}/site.conf;
}}
"""


def _http2(address: str) -> dict[str, str]:
    """Return what site.conf tells the operator to do for this version of nginx."""
    if _version() < (1, 25, 1):
        return {
            "listen 443 ssl http2;": f"listen {address} ssl http2;",
            "listen [::]:443 ssl http2;": "",
        }
    return {
        "listen 443 ssl http2;": "",
        "listen [::]:443 ssl http2;": "",
        "# listen 443 ssl;": f"listen {address} ssl;",
        "# listen [::]:443 ssl;": "",
        "# http2 on;": "http2 on;",
    }


def _version() -> tuple[int, ...]:
    said = subprocess.run(
        [nginx() or "nginx", "-v"], check=True, capture_output=True, text=True, timeout=_PATIENCE
    )
    number = re.search(r"nginx/([\d.]+)", said.stderr)
    assert number is not None, said.stderr
    return tuple(int(part) for part in number[1].split("."))


def _edited(files: dict[str, str], edits: Mapping[str, str]) -> dict[str, str]:
    for old, new in edits.items():
        assert any(old in text for text in files.values()), f"{old} stands in none of the files"
        files = {name: text.replace(old, new) for name, text in files.items()}
    return files


def _certificate(folder: Path) -> Path:
    """Write a certificate of this hour and its key, and return the certificate."""
    path = folder / "certificate.pem"
    names = f"subjectAltName=DNS:{HOST},DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", f"/CN={HOST}"]
    command += ["-addext", names, "-keyout", f"{folder}/key.pem", "-out", f"{path}"]
    subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)
    return path


def listens(port: int) -> bool:
    """Tell whether somebody listens on *port* of 127.0.0.1."""
    with socket.socket() as tried:
        tried.settimeout(1)
        return tried.connect_ex(("127.0.0.1", port)) == 0
