"""Exceptions of the library. Texts read "operation: what was given; what is needed"."""


class Error(Exception):
    """Base of all."""


class ShapeError(Error, ValueError):
    """Extents or axes that do not fit."""


class DTypeError(Error, TypeError):
    """Dtypes that do not fit (TypeError in C++)."""


class DeviceError(Error, RuntimeError):
    """Devices that do not fit, or a kernel that this build lacks."""


class GraphError(Error, RuntimeError):
    """Misuse of recording, gradients and captures."""


class ArgumentError(Error, ValueError):
    """Numbers out of range and names that there are not (ValueError in C++)."""


class OutOfMemoryError(Error, MemoryError):
    """An allocation that cannot be met (MemoryError in C++)."""


class FormatError(Error, ValueError):
    """Files that are not what they claim to be."""


class MissingDataError(Error, FileNotFoundError):
    """Files of a dataset that are in none of the folders where they were looked for."""
