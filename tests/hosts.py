"""Hosts: network namespaces that stand for machines, between a front and a back network.

Shoppers reach a host over its front. The database and Klaviyo are in the namespace of the test,
and a host reaches them over the back, from which it can be cut off without a word to anybody.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass


def missing() -> str:
    """Return what stands in the way of hosts; nothing, where they can be had."""
    if shutil.which("ip") is None:
        return "ip is missing: apt-get install iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"cp{os.getpid()}probe"
    made = _attempt("netns", "add", probe)
    if made.returncode == 0:
        _attempt("netns", "del", probe)
        return ""
    return f"network namespaces cannot be made here: {made.stderr.strip()}"


@dataclass(frozen=True)
class Host:
    """One machine. Shoppers find it at *front*."""

    name: str
    front: str

    def command(self, *command: str) -> list[str]:
        """Return *command* as it is run on this host."""
        return ["ip", "netns", "exec", self.name, *command]

    def cut_off(self) -> None:
        """Pull the cable to the back: what was open there hears nothing of it."""
        _ip("link", "set", f"{self.name}b", "down")

    def connect(self) -> None:
        """End :meth:`cut_off`."""
        _ip("link", "set", f"{self.name}b", "up")


@contextmanager
def network(count: int) -> Iterator[tuple[str, list[Host]]]:
    """Yield the address of this namespace on the back network, and *count* hosts."""
    # Names are at most 15 bytes, and the tests of others may run beside these.
    name, net = f"cp{os.getpid() % 100_000}", f"10.{random.randrange(100, 250)}"
    with ExitStack() as stack:
        _ip("link", "add", name, "type", "bridge")
        stack.callback(_ip, "link", "del", name)
        _ip("addr", "add", f"{net}.0.1/24", "dev", name)
        _ip("link", "set", name, "up")
        hosts = [stack.enter_context(_host(name, net, number)) for number in range(1, count + 1)]
        yield f"{net}.0.1", hosts


@contextmanager
def _host(bridge: str, net: str, number: int) -> Iterator[Host]:
    host = Host(name=f"{bridge}h{number}", front=f"{net}.{number}.2")
    _ip("netns", "add", host.name)
    try:
        _ip("-n", host.name, "link", "set", "lo", "up")
        _join(host.name, f"{host.name}b", "back", f"{net}.0.{number + 1}/24")
        _ip("link", "set", f"{host.name}b", "master", bridge)
        _join(host.name, f"{host.name}f", "front", f"{host.front}/24")
        _ip("addr", "add", f"{net}.{number}.1/24", "dev", f"{host.name}f")
        yield host
    finally:
        # Its ends of the wires go with it, and ours with them.
        _ip("netns", "del", host.name)


def _join(host: str, ours: str, theirs: str, address: str) -> None:
    """Lay a wire between this namespace and *host*, which has *address* at its end."""
    _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", host)
    _ip("-n", host, "addr", "add", address, "dev", theirs)
    _ip("-n", host, "link", "set", theirs, "up")
    _ip("link", "set", ours, "up")


def _ip(*arguments: str) -> None:
    done = _attempt(*arguments)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def _attempt(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
