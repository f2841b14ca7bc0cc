"""Bounds of networks over sets of inputs, certified losses, complete verification."""

from mollify._core.nn.bounds import *  # noqa: F401,F403
