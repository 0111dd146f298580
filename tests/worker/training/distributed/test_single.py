import torch
from torch import nn

from app.contract.distributed import Single
from worker.training.distributed import Seat
from worker.training.distributed.single import build


def test_one_rank_trains_the_model_itself_without_a_process_group() -> None:
    ranks = build(Single(), Seat(0, 1, torch.device("cpu")))
    model = nn.Linear(1, 1)
    assert ranks.wrap(model) is model
    assert (ranks.rank, ranks.world) == (0, 1)
    assert not torch.distributed.is_initialized()
