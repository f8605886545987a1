"""A process of one thread that holds the encoded weights and forks the workers.

Workers share its memory, so weights are encoded once and a new worker is there at once. Run as
``python -m thex_hf.serving.fork_server DESCRIPTOR``; the descriptor is a Unix socket on which a
:class:`~thex_hf.serving.spec.Spec` comes first and commands follow.
"""

from __future__ import annotations

import gc
import resource
import signal
import socket
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from thex_hf.processes import Channel, Child, describe_exit, error_to_message
from thex_hf.serving.server import ThexServer
from thex_hf.serving.spec import Spec
from thex_hf.serving.worker import Worker, serve


class ForkServer:
    """Forks workers and waits for their ends, by command.

    Args:
        link: the socket to the process that serves clients.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._channel = Channel(link)
        self._children: dict[int, Child] = {}

    def run(self) -> None:
        """Prepare the weights, then take commands until the other side is gone."""
        try:
            spec = Spec.from_message(self._channel.receive())
            server = spec.server()
            server.prepare()
            spec.open_repository()
            spec.open_tickets()
        except Exception as error:
            self._channel.send({"error": error_to_message(error)})
            return
        gc.collect()
        gc.freeze()  # so that no worker's collection touches, and so copies, what is shared
        self._channel.send({"served": asdict(server.served())})
        try:
            while True:
                self._channel.send(self._execute(self._channel.receive(), spec, server))
        except (EOFError, OSError):
            for child in self._children.values():
                child.kill()

    def _execute(self, command: dict[str, Any], spec: Spec, server: ThexServer) -> dict[str, Any]:
        if command["op"] == "fork":
            _, descriptors, _, _ = socket.recv_fds(self._link, 1, 1)
            end = socket.socket(fileno=descriptors[0])
            main = partial(self._run_worker, spec, server, end)
            try:
                child = Child(main, list(self._children.values()))
            except Exception as error:
                return {"error": error_to_message(error)}
            finally:
                end.close()
            self._children[child.pid] = child
            return {"pid": child.pid}
        worker = self._children.pop(command["pid"], None)
        if worker is None:
            return {"how": None}
        if command["kill"]:
            worker.kill()
        return {"how": describe_exit(worker.wait())}

    def _run_worker(self, spec: Spec, server: ThexServer, end: socket.socket, _: Channel) -> None:
        """The whole life of a worker."""
        self._link.close()
        _bound_memory(spec.memory)
        if (tickets := spec.open_tickets()) is not None:
            server.tickets = tickets
        serve(Worker(server, spec.open_repository()), Channel(end))


def _bound_memory(extra: int) -> None:
    """Let this process take so many bytes more than it has, where the system can be asked."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + extra
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (OSError, ValueError):
        return


def main() -> None:
    """Run a fork server on the socket whose descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that serves
    ForkServer(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
