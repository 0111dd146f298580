"""Ranks of one run as processes of their own, without a run around them."""

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

import torch
import torch.distributed as dist

from worker.training.distributed import Ranks, Seat, connect

LONGEST_S = 300
"""For a rank's answer: the machine may be busy."""
LOADED = [
    "torch._dynamo",
    "worker.training.architecture",
    "worker.training.distributed.ddp",
    "worker.training.distributed.fsdp",
]
"""By one process from which all are forked, or each would take 3 s to do so. It computes nothing, so has no threads."""

Report = Callable[[Ranks], dict[str, Any]]


@contextmanager
def store() -> Iterator[int]:
    """Where ranks meet, as a launcher has it: its port."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        held = dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=door.detach()
        )
    try:
        yield port
    finally:
        del held


def context() -> ForkServerContext:
    """Of processes that begin with the libraries loaded."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(LOADED)
    return found


def together(spec: Any, report: Report) -> list[dict[str, Any]]:
    """What each of a spec's processes has to report as a rank, in their order; all end well."""
    forking = context()
    with store() as port:
        pipes = [forking.Pipe(duplex=False) for _ in range(spec.processes)]
        processes = [
            forking.Process(target=_attend, args=(spec, report, number, port, end))
            for number, (_, end) in enumerate(pipes)
        ]
        for process, (_, end) in zip(processes, pipes, strict=True):
            process.start()
            end.close()  # one that dies is heard of at once
        found = [_answer(pipe) for pipe, _ in pipes]
        for process in processes:
            process.join()
    assert [process.exitcode for process in processes] == [0] * spec.processes
    return found


def _attend(spec: Any, report: Report, number: int, port: int, end: "Connection[Any, Any]") -> None:
    torch.set_num_threads(1)
    ranks = connect(spec, Seat(number, spec.processes, torch.device("cpu"), port))
    end.send(report(ranks))
    ranks.close()


def _answer(pipe: "Connection[Any, Any]") -> dict[str, Any]:
    with pipe:
        assert pipe.poll(LONGEST_S), "a rank does not answer"
        found: dict[str, Any] = pipe.recv()
    return found
