"""Optimisers, where their gradients come from, and schedules."""

from mollify._core.optim import *  # noqa: F401,F403
