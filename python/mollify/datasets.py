"""Labelled images and their batches."""

from mollify._core.datasets import *  # noqa: F401,F403
