"""Reads the tensors of a PyTorch checkpoint in the legacy (pre-zip) format into numpy arrays, without PyTorch.

A pickle can call any function it names. This reader lets it name only what a plain state dictionary consists of and
refuses everything else, so that a hostile checkpoint ends in an error.
"""

import collections
import pickle

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {"FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64,
            "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
            "BoolStorage": np.bool_}


class CheckpointError(Exception):
    """The file is not such a checkpoint, or names something a state dictionary does not need."""


class Storage:
    """A flat run of elements whose bytes follow later in the file."""

    def __init__(self, dtype, size):
        self.dtype, self.size, self.array = np.dtype(dtype), size, None


class LazyTensor:
    """A view of a storage: its strides need not be those of a contiguous array."""

    def __init__(self, storage, offset, shape, strides):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def load(self, name):
        last = self.offset + sum((extent - 1) * stride for extent, stride in zip(self.shape, self.strides))
        if min((*self.shape, *self.strides, self.offset, 0)) < 0 or last >= self.storage.size > 0:
            raise CheckpointError(f"tensor {name} of shape {self.shape} reaches past its storage")
        item = self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(self.storage.array[self.offset:], self.shape,
                                               [stride * item for stride in self.strides])
        return np.asarray(view, order="C")  # ascontiguousarray would make a scalar 1-D


def rebuild_tensor(storage, offset, shape, strides, *_):
    return LazyTensor(storage, offset, tuple(shape), tuple(strides))


class RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuild_tensor
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise CheckpointError(f"the checkpoint names {module}.{name}, which a plain state dictionary does not need")

    def persistent_load(self, identity):
        kind, dtype, key, _, size, view = identity
        if kind != "storage" or view is not None:
            raise CheckpointError(f"the checkpoint has a {kind} where only whole storages are expected")
        return self.storages.setdefault(key, Storage(dtype, size))


def read_state_dict(path):
    """The tensors of the checkpoint by name, contiguous. Throws CheckpointError."""
    with open(path, "rb") as file:
        try:
            if RestrictedUnpickler(file).load() != MAGIC or RestrictedUnpickler(file).load() != PROTOCOL:
                raise CheckpointError("not a legacy PyTorch checkpoint")
            if not RestrictedUnpickler(file).load()["little_endian"]:
                raise CheckpointError("written on a big-endian machine")
            unpickler = RestrictedUnpickler(file)
            state = unpickler.load()
            for key in RestrictedUnpickler(file).load():
                storage = unpickler.storages[key]
                if int.from_bytes(file.read(8), "little") != storage.size:
                    raise CheckpointError(f"storage {key} does not have the size it is said to have")
                storage.array = np.frombuffer(file.read(storage.size * storage.dtype.itemsize), storage.dtype)
                if storage.array.size != storage.size:
                    raise CheckpointError("the file ends too early")
            return {name: value.load(name) for name, value in state.items() if isinstance(value, LazyTensor)}
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(f"{path}: not a readable PyTorch checkpoint ({error})") from None
