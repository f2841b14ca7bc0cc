"""Functions, networks and losses under Gaussian noise; votes and what they prove; attacks."""

from mollify._core.smoothing import *  # noqa: F401,F403
