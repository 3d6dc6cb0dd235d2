"""Interprets the pickles of `torch.save` files without unpickling any objects.

None of the opcodes calls anything: a global is represented by its name, and a call of an unknown global by a
placeholder with that name. The optimizer state of a training checkpoint is therefore skipped, whatever its type.
"""

import io
import pickletools
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

# Limit on the total number of items in all containers: appending a list to itself could double it each time.
_ITEMS_LIMIT = 2_000_000
_STORAGES: dict[str, Any] = {
    "torch.HalfStorage": np.float16,
    "torch.BFloat16Storage": ml_dtypes.bfloat16,
    "torch.FloatStorage": np.float32,
    "torch.DoubleStorage": np.float64,
    "torch.LongStorage": np.int64,
    "torch.IntStorage": np.int32,
    "torch.ByteStorage": np.uint8,
    "torch.storage.UntypedStorage": np.uint8,
}
# Dtypes stored with the tensor itself, which are newer than typed storages.
_DTYPES: dict[str, Any] = {
    "torch.float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "torch.float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "torch.float8_e5m2": ml_dtypes.float8_e5m2,
    "torch.float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "torch.float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


class _Global(NamedTuple):
    name: str


class Unknown(NamedTuple):
    name: str


class Storage(NamedTuple):
    key: str
    dtype: Any


def _reduced(function: Any, args: Any) -> Any:
    name = function.name
    if name == "torch._utils._rebuild_tensor_v2":
        return args
    if name == "torch._utils._rebuild_tensor_v3" and isinstance(args[0], Storage):
        kind = args[6].name
        return (args[0]._replace(dtype=_DTYPES[kind]), *args[1:]) if kind in _DTYPES else Unknown(kind)
    if name == "torch._utils._rebuild_parameter":
        return args[0]
    if name == "collections.OrderedDict" and not args:
        return {}
    return Unknown(name)


def _stored(identity: Any) -> Any:
    _, kind, key, *_ = identity
    return Storage(key, _STORAGES[kind.name]) if kind.name in _STORAGES else Unknown(kind.name)


def walk(data: bytes | io.BytesIO, storages: dict[str, Storage] | None = None) -> Any:
    """Interprets the opcodes of one pickle and returns its value.

    Args:
      data: the pickle, or a file, which is read to the pickle's end.
      storages: gets the storages that the pickle refers to, by key.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    items_left = _ITEMS_LIMIT

    def marked() -> list[Any]:
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
        items = stack[place + 1 :]
        del stack[place:]
        return items

    arg: Any
    for opcode, arg, _ in pickletools.genops(data):
        op = opcode.name
        if op == "STOP":
            return stack.pop()
        if op in ("PROTO", "FRAME"):
            continue
        if op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op == "MARK":
            stack.append(_MARK)
        elif op.startswith(("BININT", "BINUNICODE", "SHORT_BINUNICODE", "LONG1", "BINFLOAT", "BINBYTES", "SHORT_BIN")):
            stack.append(arg)
        elif op in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if arg is None else arg] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
        elif op == "GLOBAL":
            stack.append(_Global(arg.replace(" ", ".")))
        elif op == "STACK_GLOBAL":
            name = f"{stack.pop(-2)}.{stack.pop()}"
            stack.append(_Global(name))
        elif op in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}[op]())
        elif op == "TUPLE":
            stack.append(tuple(marked()))
        elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(op[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif op in ("SETITEM", "SETITEMS"):
            items = marked() if op == "SETITEMS" else [stack.pop(-2), stack.pop()]
            if any(isinstance(key, tuple) for key in items[::2]):
                raise ValueError("a mapping of its pickle has a tuple for a key")  # hashing a tuple may recurse in C
            if isinstance(stack[-1], dict):
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif op in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if op == "APPEND" else marked()
            items_left -= len(items)
            if items_left < 0:
                raise ValueError(f"its pickle has more than {_ITEMS_LIMIT} items")
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif op in ("REDUCE", "NEWOBJ"):
            args = stack.pop()
            stack.append(_reduced(stack.pop(), args))
        elif op == "BUILD":
            stack.pop()  # for example, the module versions of a state_dict
        elif op == "BINPERSID":
            stored = _stored(stack.pop())
            if storages is not None and isinstance(stored, Storage):
                storages[stored.key] = stored
            stack.append(stored)
        else:
            raise ValueError(f"its pickle has the opcode {op}")
    raise ValueError("its pickle has no end")
