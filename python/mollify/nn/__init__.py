"""Networks as pure functions of (weights, input), layers, losses and weights' files."""

from mollify._core.nn import *  # noqa: F401,F403

del bounds  # the compiled part of what follows
from mollify.nn import bounds, formats
