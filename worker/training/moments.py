"""What an optimizer keeps beside each weight, known without making one."""

from app.contract.training import AdamW, Sgd, Training


def moments(training: Training) -> int:
    """How many numbers the optimizer keeps for each weight."""
    match training.optimizer:
        case AdamW():
            return 2
        case Sgd(momentum=momentum):
            return 1 if momentum else 0
