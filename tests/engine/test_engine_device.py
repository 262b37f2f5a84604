"""How many trials run at once, what out-of-memory does, and how a process is prepared."""

import contextlib
import subprocess
import sys

import pytest
import torch
from core_cases import model_of

from gradleak.engine import device
from gradleak.engine.device import (
    check_precision,
    halve_on_oom,
    precision,
    prepare_device,
    resolve_device,
    trials_by_memory,
    trials_that_fit,
)
from gradleak.errors import UserError

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def model():
    return model_of("convnet", channels=4, stages=2, layers=1)


def fitting(model, steps=1, samples=(1, 2, 3, 5, 8, 20, 64, 300)):
    return [trials_that_fit(model, SHAPE, n, steps) for n in samples]


def falls(counts):
    return counts == sorted(counts, reverse=True) and counts[-1] < counts[0]


def test_number_of_trials_is_a_power_of_two_up_to_64_and_falls_with_the_samples(model):
    counts = fitting(model)
    assert set(counts) <= {1, 2, 4, 8, 16, 32, 64}
    assert falls(counts)
    assert counts[-1] == 1


def test_number_of_trials_follows_the_memory(model, monkeypatch):
    monkeypatch.setattr(device, "_MAX_IMAGES_CPU", 10**9)
    found = {}
    for budget in (1e4, 1e6, 1e7, 1e12):
        monkeypatch.setattr(device, "_budget", lambda where, budget=budget: budget)
        found[budget] = fitting(model)
    assert found[1e4] == [1] * 8
    assert found[1e12] == [64] * 8
    assert falls(found[1e7])
    assert all(a <= b for a, b in zip(found[1e6], found[1e7], strict=True))
    monkeypatch.setattr(device, "_budget", lambda where: 3e7)
    assert falls([trials_that_fit(model, SHAPE, 4, steps) for steps in (1, 2, 4, 8, 64)])


def test_estimating_leaves_no_hooks_behind(model):
    trials_that_fit(model, SHAPE, 1, 1)
    assert not any(module._forward_hooks for module in model.modules())


def test_out_of_memory_halves_until_it_fits():
    tried = []

    def run(trials):
        tried.append(trials)
        if trials > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"ran {trials}"

    assert halve_on_oom(run, 16) == "ran 2"
    assert tried == [16, 8, 4, 2]


def test_out_of_memory_of_the_cpu_allocator_halves_too():
    def run(trials):
        if trials > 1:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return trials

    assert halve_on_oom(run, 3) == 1


def test_one_trial_that_does_not_fit_is_a_user_error():
    tried = []

    def run(trials):
        tried.append(trials)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match="one trial does not fit into the device's memory"):
        halve_on_oom(run, 4)
    assert tried == [4, 2, 1]


def test_other_errors_pass_through_at_once():
    tried = []

    def run(trials):
        tried.append(trials)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match") as caught:
        halve_on_oom(run, 4)
    assert not isinstance(caught.value, UserError)
    assert tried == [4]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_cuda_device_is_a_user_error():
    with pytest.raises(UserError, match="sees no CUDA device; use 'cpu'"):
        prepare_device("cuda", 1, "float32")
    assert resolve_device("auto") == "cpu"


def test_device_names_that_are_given_are_kept():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("cuda") == "cuda"


@pytest.fixture
def process():
    """A process that a test may prepare otherwise."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    prepare_device("cpu", 1, "float32")
    torch.use_deterministic_algorithms(deterministic)


def test_a_prepared_process_is_deterministic_with_the_threads_asked_for(process):
    prepare_device("cpu", 1, "float32")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("name", "tf32"), [("float32", False), ("tf32", True), ("bf16", False)])
def test_a_process_has_the_precision_asked_for(process, monkeypatch, name, tf32):
    monkeypatch.setattr(device, "check_precision", lambda device, precision: None)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not tf32
    prepare_device("cpu", 1, name)
    assert precision() == name
    assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction


def test_a_precision_that_is_refused_changes_nothing(process):
    prepare_device("cpu", 1, "float32")
    with pytest.raises(UserError, match=r"^precision is 'tf32', .* not a CPU; use float32 or bf16$"):
        prepare_device("cpu", 1, "tf32")
    assert precision() == "float32"
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_process_that_nothing_prepared_computes_in_float32():
    code = "from gradleak.engine.device import precision; print(precision())"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "float32\n"
    )


@pytest.mark.parametrize(
    ("flags", "mkldnn", "refused"),
    [
        ("fpu avx512_bf16", True, False),
        ("fpu amx_tile amx_bf16", True, False),
        ("fpu avx512_bf16", False, True),
        ("fpu avx2 avx512f", True, True),
        (None, True, True),
    ],
)
def test_bf16_on_a_cpu_needs_its_instructions_and_torchs(monkeypatch, flags, mkldnn, refused):
    monkeypatch.setattr(device, "_cpu_facts", lambda: {} if flags is None else {"flags": flags})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: mkldnn)
    found = pytest.raises(UserError, match=r"^precision is 'bf16', but this CPU .*; use float32$")
    with found if refused else contextlib.nullcontext():
        check_precision("cpu", "bf16")


@pytest.mark.parametrize("there", [True, False])
def test_bf16_on_a_cuda_device_needs_it_without_emulation(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or there)
    found = pytest.raises(UserError, match=r"^precision is 'bf16', which this CUDA device .*; use float32$")
    with contextlib.nullcontext() if there else found:
        check_precision("cuda:0", "bf16")
    check_precision("cuda:0", "tf32")


def test_a_job_whose_model_has_no_torchvision_block_does_not_load_the_compiler():
    code = (
        "import sys, gradleak.stages.reconstruct\n"
        "from gradleak.engine.device import prepare_device\n"
        "from gradleak.models.base import MODELS\n"
        "prepare_device('cpu', 1, 'float32')\n"
        "for name in sys.argv[1:]: MODELS[name](10, 32, width=0.25)\n"
        "print([name for name in ('torchvision', 'torch._dynamo') if name in sys.modules])"
    )

    def loaded(*models):
        return subprocess.run([sys.executable, "-c", code, *models], capture_output=True, text=True, check=True).stdout

    assert loaded("convnet", "convnet64", "densenet43") == "[]\n"
    assert "torchvision" in loaded("resnet18")


class Card:
    """A CUDA device with so much free memory, of which trials take `fixed` together and `each`."""

    def __init__(self, monkeypatch, free, fixed, each, most=64):
        self.free, self.fixed, self.each, self.most, self.peak = free, fixed, each, most, 0
        for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
            monkeypatch.setattr(torch.cuda, name, lambda: None)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 1000)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 1000 + self.peak)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (self.free, 2 * self.free))

    def evaluate(self, trials):
        if trials > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.peak = self.fixed + trials * self.each


@pytest.mark.parametrize(
    ("free", "fixed", "each", "trials"),
    [(1000, 100, 70, 8), (1000, 100, 75, 8), (1000, 100, 76, 4), (1000, 900, 10, 1), (10**6, 0, 1, 64)],
)
def test_trials_on_a_gpu_are_as_many_as_measured_memory_holds(monkeypatch, free, fixed, each, trials):
    card = Card(monkeypatch, free, fixed, each)
    assert trials_by_memory(card.evaluate, 16, most=10) == trials


def test_the_estimate_stands_where_two_trials_cannot_be_measured(monkeypatch):
    assert trials_by_memory(Card(monkeypatch, 1000, 0, 1).evaluate, 16, most=1) == 16
    assert trials_by_memory(Card(monkeypatch, 1000, 0, 1, most=1).evaluate, 16, most=2) == 16

    def broken(trials):
        raise RuntimeError("no memory's fault")

    with pytest.raises(RuntimeError, match="no memory's fault"):
        trials_by_memory(broken, 16, most=2)
