import multiprocessing
import socket

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from app.contract.distributed import Ddp
from worker.training.distributed import Seat
from worker.training.distributed.ddp import build


def leave_no_group(port: int) -> None:
    ranks = build(Ddp(processes=1), Seat(0, 1, torch.device("cpu"), port))
    wrapped = ranks.wrap(nn.Linear(1, 1))
    assert isinstance(wrapped, DistributedDataParallel)
    assert not wrapped.will_sync_module_buffers()
    ranks.close()
    assert not dist.is_initialized()


def test_one_process_may_be_a_group_and_leaves_none_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        store = dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=door.detach()
        )
    process = multiprocessing.get_context("spawn").Process(target=leave_no_group, args=(port,))
    process.start()
    process.join(90)
    del store
    assert process.exitcode == 0
