import pytest
import torch

from worker.training.errors import RunFailure
from worker.training.precision import choose, refuse_unsupported

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "weights", "product"),
    [
        ("auto", torch.float32, torch.float32),
        ("fp32", torch.float32, torch.float32),
        ("fp64", torch.float64, torch.float64),
        ("bf16", torch.float32, torch.bfloat16),
    ],
)
def test_a_cpu_computes_in_the_precision_of_the_spec(name: str, weights: torch.dtype, product: torch.dtype) -> None:
    precision = choose(name, CPU)  # type: ignore[arg-type]
    assert precision.weights == weights
    ones = torch.ones(2, 2, dtype=precision.weights)
    with precision.autocast():
        assert (ones @ ones).dtype == product
    assert not precision.scaler().is_enabled()


def test_fp16_is_refused_on_a_cpu_with_the_field_named() -> None:
    for refuse in (lambda: choose("fp16", CPU), lambda: refuse_unsupported("fp16", "cpu")):
        with pytest.raises(RunFailure) as refusal:
            refuse()
        assert [each.pointer for each in refusal.value.failure.errors] == ["/training/precision"]
    refuse_unsupported("fp16", "cuda")
