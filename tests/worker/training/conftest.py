"""Fixtures of this folder."""

from tests.training_runs import warm

__all__ = ["warm"]
