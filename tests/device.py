"""A stand-in for a CUDA device on machines without one: real values, a device's rules, a count of its work.

Inside `with Device() as gpu:` a tensor moved to `cuda` is a wrapper that says so and holds its values on the
CPU. Every operation comes by here, so that a test can see what a real device would refuse or punish:

- an operation that mixes tensors of both devices raises `Mixed` (a CPU tensor without dimensions may pass, as
  on CUDA);
- whatever makes the host wait for the device is noted with the line of lnbench it stands in: reads of values,
  copies to the host, copies from memory that is not pinned, shapes that depend on values;
- with `rounding="cuda"` a tensor divided by a number is multiplied by the number's reciprocal, as
  CUDA's kernel does (aten/src/ATen/native/cuda/BinaryDivTrueKernel.cu);
- launches and bytes read and written are added up.

What it cannot see: order of summation, fused multiply-adds, cuDNN's choices, time.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from lnbench.corruptions import fused

CUDA = torch.device("cuda", 0)
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd

# Operations whose result, or its shape, the host must know before it goes on.
WAITING = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2",
           "unique_dim", "unique_consecutive", "bincount", "histc"}  # fmt: skip
# Operations that only look at a tensor in another way, or make one without filling it.
FREE = {"view", "_unsafe_view", "alias", "detach", "expand", "permute", "transpose", "t", "select", "slice",
        "unsqueeze", "squeeze", "as_strided", "unfold", "diagonal", "split", "split_with_sizes", "chunk",
        "unbind", "empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "lift_fresh",
        "_reshape_alias", "real", "imag", "view_as_real", "resize_", "is_pinned", "sym_size"}  # fmt: skip


class Mixed(RuntimeError):
    """Tensors of the device and of the CPU in one operation."""


class OnDevice(torch.Tensor):
    """Says that it is on `cuda:0`; `values` is a CPU tensor of the same layout."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(),
            dtype=values.dtype, layout=values.layout, device=CUDA,
        )  # fmt: skip
        made.values = values
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert Device.now is not None, f"{func}: a tensor of the device outside of it"
        return Device.now.run(func, args, kwargs or {})

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("cuda tensors have no numpy(): use Tensor.cpu() first")

    def tolist(self) -> Any:
        assert Device.now is not None
        Device.now.wait("tolist")
        return self.values.tolist()


class Traffic(TorchDispatchMode):
    """Counts launches, and bytes read and written, of operations on tensors without values (`meta`)."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._schema.name.split("::")[1] not in FREE:
            self.launches += 1
            self.bytes += moved(args, kwargs or {}, result)
        return result


def moved(args: Any, kwargs: dict[str, Any], result: Any) -> int:
    """Bytes of the operands of an operation and of its results; a tensor to write into is one of these."""
    read = {name: value for name, value in kwargs.items() if name != "out"}
    tensors = [leaf for leaf in tree_leaves((args, read, result)) if isinstance(leaf, torch.Tensor)]
    return sum(leaf.numel() * leaf.element_size() for leaf in tensors)


class _Operations(TorchDispatchMode):
    """Also operations without a tensor of the device, such as factories, come by."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert Device.now is not None
        return Device.now.run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Calls that would ask a driver: which device `cuda` is, and tensors made from Python numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device and len(args) + len(kwargs or {}) > 1:
            return func(*args, **(kwargs or {}))
        args = tuple(_numbered(value) for value in args)
        kwargs = {name: _numbered(value) for name, value in (kwargs or {}).items()}
        if func is torch.tensor and getattr(kwargs.get("device"), "type", None) == "cuda":
            return func(*args, **{**kwargs, "device": "cpu"}).to(CUDA)
        if func is torch.Tensor.tolist and isinstance(args[0], OnDevice):
            return OnDevice.tolist(args[0])
        return func(*args, **kwargs)


def _numbered(value: Any) -> Any:
    if isinstance(value, torch.device):
        return CUDA if value.type == "cuda" and value.index is None else value
    return CUDA if isinstance(value, str) and value == "cuda" else value


class _Stamp:
    """A CUDA event: notes on which device it was recorded, and takes a millisecond."""

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing

    def record(self, stream: Any = None) -> None:
        assert Device.now is not None
        Device.now.recorded.append(Device.now.current if stream is None else stream)
        Device.now.contexts.add(Device.now.current)

    def elapsed_time(self, end: _Stamp) -> float:
        return 1.0


class Device:
    """See the module. `waits`: (what, file:line of lnbench) of everything that made the host wait.

    `contexts`: the devices that a driver would have set up. `carried`: bytes from the host to the device.
    """

    now: Device | None = None

    def __init__(self, rounding: str = "cpu", count: int = 1, memory: int = 1 << 37) -> None:
        self.rounding, self.count, self.memory = rounding, count, memory
        self.current = 0
        self.waits: list[tuple[str, str]] = []
        self.recorded: list[Any] = []
        self.contexts: set[int] = set()
        self.launches = 0
        self.bytes = 0
        self.carried = 0
        self.watch: Callable[[str, Any, Any, Any], None] | None = None
        self._pinned: set[int] = set()
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> Device:
        assert Device.now is None
        Device.now = self
        torch._C._ensureCUDADeviceGuardSet()  # without a driver: a guard that does nothing
        fakes: dict[str, Any] = {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: self.count,
            "current_device": lambda: self.current,
            "set_device": self._use,
            "device": self._on,
            "get_device_name": lambda device=None: "stand-in",
            "mem_get_info": lambda device=None: (self.memory, self.memory),
            "get_device_properties": lambda device=None: SimpleNamespace(total_memory=self.memory),
            "memory_allocated": lambda device=None: 0,
            "max_memory_reserved": lambda device=None: 0,
            "synchronize": lambda device=None: self.wait("synchronize"),
            "empty_cache": lambda: None,
            "Event": _Stamp,
        }
        for name, fake in fakes.items():
            self._entered.enter_context(mock.patch.object(torch.cuda, name, fake))
        own = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self._entered.callback(torch.__future__.set_overwrite_module_params_on_conversion, own)
        # torch's own kernels, which the CPU has too.
        self._entered.enter_context(torch.backends.cudnn.flags(enabled=False))
        # Triton would need a real one.
        self._entered.enter_context(mock.patch.object(fused, "written", lambda name: None))
        self._entered.enter_context(_Operations())
        self._entered.enter_context(_Calls())
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered.close()
        Device.now = None

    def _use(self, device: Any) -> None:
        self.current = device if isinstance(device, int) else torch.device(device).index or 0
        self.contexts.add(self.current)

    @contextlib.contextmanager
    def _on(self, device: Any) -> Iterator[None]:
        before = self.current
        self._use(device)
        try:
            yield
        finally:
            self.current = before

    def clear(self) -> None:
        """Forget what was counted so far."""
        self.waits, self.launches, self.bytes, self.carried = [], 0, 0, 0

    def wait(self, what: str) -> None:
        self.waits.append((what, _line()))

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Any operation: a transfer, a computation on the device, or the CPU's own affair."""
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with _Operations():  # in inference mode these arrive whole: their parts come by one by one
                return func._op_dk(COMPOSITE, *args, **kwargs)
        name = func._schema.name.split("::")[1]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        here = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        target = kwargs.get("device")
        to_device = target is not None and torch.device(target).type == "cuda"
        if name == "empty" and kwargs.get("pin_memory"):
            made = func(*args, **{**kwargs, "pin_memory": False})
            self.contexts.add(self.current)
            self._pinned.add(made.untyped_storage().data_ptr())
            return made
        if name == "_pin_memory":
            made = args[0].clone()
            self.contexts.add(self.current)
            self._pinned.add(made.untyped_storage().data_ptr())
            return made
        if not here and not to_device:
            return func(*args, **kwargs)
        if name == "_to_copy" and (target is not None or not here):
            return self._moved(func, args, kwargs, to_device)
        if name == "copy_" and isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
            return self._copied(args)
        for tensor in tensors:
            if not isinstance(tensor, OnDevice) and tensor.ndim and here:
                raise Mixed(f"{name} of tensors on cuda:0 and cpu, at {_line()}")
        if name in WAITING:
            self.wait(name)
        if name.startswith("index") and any(
            isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1])
        ):
            self.wait(f"{name} by a mask")
        return self._computed(func, name, args, kwargs)

    def _computed(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        def bare(leaf: Any) -> Any:
            return leaf.values if isinstance(leaf, OnDevice) else leaf

        plain = {key: tree_map(bare, value) for key, value in kwargs.items() if key != "device"}
        if "device" in kwargs:
            plain["device"] = torch.device("cpu")
        values = tree_map(bare, args)
        if self.rounding == "cuda" and name in ("div", "div_") and isinstance(values[1], float | int):
            whole = values[0]
            if "rounding_mode" not in plain:
                kind = whole.dtype if whole.dtype.is_floating_point else torch.float32
                inverse = (torch.ones((), dtype=kind) / torch.tensor(float(values[1]), dtype=kind)).item()
                result = whole.mul_(inverse) if name == "div_" else whole * inverse
            else:
                result = func(*values, **plain)
        else:
            result = func(*values, **plain)
        if name not in FREE:
            self.launches += 1
            self.bytes += moved(values, kwargs, result)
            if self.watch is not None:
                self.watch(name, values, kwargs, result)

        def wrapped(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            for given in tree_leaves((args, kwargs)):
                if isinstance(given, OnDevice) and given.values is leaf:
                    return given  # in place, or out=
            return OnDevice(leaf)

        return tree_map(wrapped, result)

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any], to_device: bool) -> torch.Tensor:
        source = args[0]
        values = source.values if isinstance(source, OnDevice) else source
        made = func(values, **{**kwargs, "device": torch.device("cpu"), "non_blocking": False})
        if not to_device:
            self.wait("copy to the host")
            return made  # type: ignore[no-any-return]
        if not isinstance(source, OnDevice):
            self.carried += made.numel() * made.element_size()
            pinned = values.untyped_storage().data_ptr() in self._pinned
            if not (pinned and kwargs.get("non_blocking")):
                self.wait("copy from pageable memory" if not pinned else "blocking copy")
        return OnDevice(made)

    def _copied(self, args: Any) -> Any:
        target, source = args[0], args[1]
        if isinstance(target, OnDevice):
            if source.ndim:
                self.wait("copy from the host")
            target.values.copy_(source)
        else:
            self.wait("copy to the host")
            target.copy_(source.values)
        return target


def _line() -> str:
    """The innermost line of lnbench on the way here."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/lnbench/" in path and "/tests/" not in path:
            return f"{path.rsplit('/lnbench/', 1)[1]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "outside"


@contextlib.contextmanager
def fresh_tables() -> Iterator[None]:
    """Without the tables that kernels keep for a device: those of the stand-in must not meet another."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith("lnbench.corruptions.")]:
            for thing in vars(sys.modules[name]).values():
                if hasattr(thing, "cache_clear"):
                    thing.cache_clear()

    forget()
    yield
    forget()
