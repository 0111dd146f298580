"""The least that a script does to train the benchmark's network on several processes; torchrun and Ray start it.

`_ddp_script.py OUT NETWORK`: rank 0 writes the time of its first optimizer step, in seconds since the epoch, to OUT.
Random images stand for the data, so that what is compared is the start.
"""

import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from worker.training.libraries import timm  # which loads beside a torch for CPUs


def main() -> None:
    """One step."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = DistributedDataParallel(timm.create_model(sys.argv[2], num_classes=10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images_NCHW, labels_N = torch.rand(64 // world, 3, 32, 32), torch.randint(10, (64 // world,))
    F.cross_entropy(model(images_NCHW), labels_N).backward()
    optimizer.step()
    if rank == 0:
        Path(sys.argv[1]).write_text(str(time.time()))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
