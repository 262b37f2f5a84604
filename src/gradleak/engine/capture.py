"""Runs one iteration again and again: recorded once, then replayed, as a CUDA graph or as a list of operations.

An attack iteration starts a few thousand small operations. On a GPU launching them one by one leaves it idle; on a CPU
autograd and Python take longer than the operations of a narrow network. The recorded function must read and write the
same tensors each time and must not look at a value on the host.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gradleak.engine.device import is_oom
from gradleak.errors import first_line

_WARM_UP = 3
_log = logging.getLogger(__name__)


def captured(step: Callable[[], None], state: Mapping[str, Tensor], device: str) -> Callable[[], None]:
    """Return a function that does what `step` does, faster. `state` is all that changes of what it reads and writes.

    On a CPU the second call is recorded, the third one compared with a replay, bit for bit, and later ones are
    replays. A step that cannot be recorded, as of a model that looks at values on the host, is always called, with one
    line in the log.
    """
    if not device.startswith("cuda"):
        return _Recorded(step, state)
    before = _copies(state)
    try:
        replay = _graph(step)
    except RuntimeError as error:
        if is_oom(error):
            raise
        _say(first_line(error))
        replay = step
    _put(before, state)
    return replay


@cache
def _say(reason: str) -> None:
    _log.warning("an iteration cannot be recorded (%s); its operations are called one by one, which is slower", reason)


def _graph(step: Callable[[], None]) -> Callable[[], None]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class _Recorded:
    """A step that is called, recorded, compared and then replayed."""

    def __init__(self, step: Callable[[], None], state: Mapping[str, Tensor]) -> None:
        self._step, self._state = step, state
        self._call = self._first

    def __call__(self) -> None:
        """Do the step once."""
        self._call()

    def _first(self) -> None:
        self._step()  # makes what is made once, such as packed weights
        self._call = self._record

    def _record(self) -> None:
        recorder = _Recorder()
        with recorder:
            self._step()
        if recorder.obstacle is None:
            self._replay = recorder.program()
            self._call = self._compare
        else:
            self._give_up(recorder.obstacle)

    def _compare(self) -> None:
        # The state is another one than when it was recorded: a value that was kept from then shows.
        before = _copies(self._state)
        self._step()
        wanted = _copies(self._state)
        _put(before, self._state)
        reason = "a replay differs from a call"
        try:
            self._replay()
        except RuntimeError as error:
            if is_oom(error):
                raise
            reason = first_line(error)
        if all(_same(self._state[name], value) for name, value in wanted.items()):
            self._call = self._replay
        else:
            _put(wanted, self._state)
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        _say(reason)
        self._call = self._step


def _copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _put(values: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        state[name].copy_(value)


def _same(left: Tensor, right: Tensor) -> bool:
    if left.is_floating_point():
        return torch.allclose(left, right, rtol=0, atol=0, equal_nan=True)
    return torch.equal(left, right)


# Faster to call than the operator itself: Python's binding of it, which takes the same arguments.
_BOUND = {
    "add.Tensor": torch.add,
    "sub.Tensor": torch.sub,
    "mul.Tensor": torch.mul,
    "div.Tensor": torch.div,
    "addcmul.default": torch.addcmul,
    "addcmul_.default": Tensor.addcmul_,
    "baddbmm.default": torch.baddbmm,
    "bmm.default": torch.bmm,
    "mm.default": torch.mm,
    "dot.default": torch.dot,
    "cat.default": torch.cat,
    "stack.default": torch.stack,
    "sum.dim_IntList": torch.sum,
    "clamp_min.default": torch.clamp_min,
    "mkldnn_convolution.default": torch.mkldnn_convolution,
    "where.self": torch.where,
}


class _Recorder(TorchDispatchMode):
    """Writes down the operations below autograd, as lines of a function that does them again.

    Every tensor that an operation makes is a variable of that function; all others are constants, which keep their
    place in memory. A view is one step from the variable whose memory it shows, however it was made. What nobody uses
    is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.obstacle: str | None = None  # why what was done cannot be done again
        self._lines: list[tuple[str | None, str, list[str]]] = []  # variable, expression, variables in it
        self._scope: dict[str, Any] = {"as_strided": torch.as_strided}
        self._names: dict[int, str] = {}
        self._bases: dict[int, Tensor | str] = {}
        self._views: dict[tuple[Any, ...], str] = {}
        self._geometry: dict[str, tuple[Any, ...]] = {}
        self._pins: list[Any] = []  # weak: addresses are not used again, memory is

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do an operation and write it down."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = [value for value in _flat((args, tuple(kwargs.values()))) if isinstance(value, Tensor)]
        outputs = list(_flat(result))
        if _depends_on_values(func, inputs):
            self.obstacle = f"{func} looks at a value on the host"
        elif not all(isinstance(each, Tensor) or each is None for each in outputs):
            self.obstacle = f"{func} returns no tensor"
        if self.obstacle is not None:
            return result
        same = {each._cdata for each in inputs}
        shown = {_memory(each): each for each in inputs}
        fresh = [each for each in outputs if each is not None and each._cdata not in same]
        views = [each for each in fresh if _memory(each) in shown]
        if fresh and len(views) == len(fresh):
            for view in views:
                self._add_view(view, shown[_memory(view)])
        else:
            self._add(func, args, kwargs, result, fresh)
        return result

    def _add_view(self, view: Tensor, of: Tensor) -> None:
        base = self._bases.get(of._cdata, of)
        if isinstance(base, Tensor):  # of a constant
            self._bases[view._cdata] = base
            self._pin(view, self._constant(view.detach() if view.requires_grad else view))
            return
        geometry = (tuple(view.shape), tuple(view.stride()), view.storage_offset())
        self._bases[view._cdata] = base
        if geometry == self._geometry[base]:
            self._pin(view, base)
            return
        key = (base, geometry)
        if key not in self._views:
            shape, stride, offset = geometry
            self._views[key] = self._new(f"as_strided({base}, {shape}, {stride}, {offset})", [base])
        self._pin(view, self._views[key])

    def _add(self, func: Any, args: Any, kwargs: Any, result: Any, fresh: list[Tensor]) -> None:
        used: list[str] = []
        given = [self._text(value, used) for value in args]
        given += [f"{key}={self._text(value, used)}" for key, value in kwargs.items()]
        call = f"{self._function(func)}({', '.join(given)})"
        if not fresh:  # in place
            self._lines.append((None, call, used))
            return
        name = self._new(call, used)
        if isinstance(result, Tensor):
            self._made(result, name)
            return
        for place, each in enumerate(result):
            if each is not None:
                self._made(each, self._new(f"{name}[{place}]", [name]))

    def _made(self, tensor: Tensor, name: str) -> None:
        self._bases[tensor._cdata] = name
        self._geometry[name] = (tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset())
        self._pin(tensor, name)

    def _new(self, expression: str, used: list[str]) -> str:
        name = f"v{len(self._lines)}"
        self._lines.append((name, expression, used))
        return name

    def _pin(self, tensor: Tensor, name: str) -> None:
        self._names[tensor._cdata] = name
        self._pins.append(torch._C._WeakTensorRef(tensor))  # type: ignore[attr-defined]

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._scope)}"
        self._scope[name] = value
        return name

    def _function(self, func: Any) -> str:
        operator = str(func).removeprefix("aten.")
        name = operator.replace(".", "_")
        self._scope[name] = _BOUND.get(operator, func._op)
        return name

    def _text(self, value: Any, used: list[str]) -> str:
        if isinstance(value, Tensor):
            if value._cdata not in self._names:
                self._pin(value, self._constant(value))
            name = self._names[value._cdata]
            if name.startswith("v"):
                used.append(name)
            return name
        if isinstance(value, (list, tuple)):
            inner = "".join(f"{self._text(each, used)}, " for each in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner})"
        return repr(value) if isinstance(value, (bool, int, str, type(None))) else self._constant(value)

    def program(self) -> Callable[[], None]:
        """The function that does all of it again."""
        needed: set[str] = set()
        body: list[str] = []
        for variable, expression, used in reversed(self._lines):
            if variable is not None and variable not in needed:
                continue
            last = [each for each in dict.fromkeys(used) if each not in needed]
            needed.update(used)
            if last:
                body.append(f"    del {', '.join(last)}")
            body.append(f"    {expression}" if variable is None else f"    {variable} = {expression}")
        source = "\n".join(["def run():", *reversed(body)])
        exec(compile(source, "<recorded iteration>", "exec"), self._scope)  # noqa: S102 - of our own making
        return torch.inference_mode()(self._scope["run"])


def _depends_on_values(func: Any, inputs: list[Tensor]) -> bool:
    """Whether the host, or the shape of the result, depends on values and not on shapes alone."""
    if func is torch.ops.aten.index.Tensor:
        return any(each.dtype in (torch.bool, torch.uint8) for each in inputs)
    return any(tag in func.tags for tag in (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape))


def _memory(tensor: Tensor) -> int:
    """What tensors that show the same memory have in common; packed weights are in memory of their own."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else tensor._cdata


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)
    else:
        yield value
