"""A recorded iteration changes the state as a called one does, bit for bit; what cannot be recorded is called."""

import logging
from itertools import pairwise

import pytest
import torch
from core_cases import model_of, problem_of, random
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from gradleak.attacks.gia_o import ImageSpace
from gradleak.attacks.latent_search import LatentSpace
from gradleak.auxiliary.dcgan import DcganGenerator
from gradleak.engine import capture
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Evaluation
from gradleak.engine.capture import captured
from gradleak.engine.descent import Descent, DescentConfig
from gradleak.engine.functional import FunctionalMatcher, OneByOneMatcher
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import WeightedPriors
from gradleak.specs import ClientSpec


@pytest.fixture(autouse=True)
def log(caplog):
    """What was logged; each reason is said once in a process."""
    capture._say.cache_clear()
    caplog.set_level(logging.WARNING, logger=capture.__name__)
    return caplog


def lines(log):
    return [record.getMessage() for record in log.records if record.name == capture.__name__]


class Operations(TorchDispatchMode):
    """The operations that run, and at each how many tensors that were made before are still in memory."""

    def __init__(self):
        super().__init__()
        self.names, self.alive, self.made = [], [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names.append(str(func).split(".")[1])
        values = result if isinstance(result, tuple) else (result,)
        self.made += [StorageWeakRef(value.untyped_storage()) for value in values]
        self.alive.append(sum(not each.expired() for each in self.made))
        return result


def replayed(run):
    with Operations() as seen:
        run()
    return seen


def state_of(**values):
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def numbers(state):
    return {name: value.tolist() for name, value in state.items()}


def trace(step, state, count=5):
    """The states after each of some calls."""
    found = []
    for _ in range(count):
        step()
        found.append(numbers(state))
    return found


def check_recorded(make, log, count=5):
    """A step of `make(state)` is recorded, and what it does is what calls do. Returns the recording."""
    called, recorded = state_of(x=[1.0, 2.0, 3.0]), state_of(x=[1.0, 2.0, 3.0])
    expected = trace(make(called), called, count)
    step = make(recorded)
    run = captured(step, recorded, "cpu")
    assert lines(log) == []
    assert run is not step
    assert numbers(recorded) == numbers(state_of(x=[1.0, 2.0, 3.0]))
    assert trace(run, recorded, count) == expected
    assert len({str(each) for each in expected}) == count
    return run


# Small steps.


def test_a_step_is_replayed_without_calling_it_again(log):
    calls = []

    def make(state):
        def step():
            calls.append(1)
            state["x"].copy_(state["x"] * 1.5 + torch.tensor([0.0, 1.0, 2.0]))

        return step

    run = check_recorded(make, log)
    before = len(calls)
    run()
    assert len(calls) == before


def test_operations_whose_result_nobody_uses_are_left_out(log):
    def make(state):
        def step():
            state["x"].exp().sin().sum()
            pair = torch.sort(state["x"].flip(0))  # of two results one is used
            state["x"].add_(pair.values.cumsum(0))

        return step

    assert replayed(check_recorded(make, log)).names == ["flip", "sort", "cumsum", "add_"]


def test_views_of_views_are_one_step(log):
    def make(state):
        def step():
            wide = state["x"].expand(4, 3) * 1.01
            seen = wide.t()[1:].unsqueeze(0).transpose(1, 2).squeeze(0)[2:]
            again = wide.t()[1:].unsqueeze(0).transpose(1, 2).squeeze(0)[2:]
            state["x"].add_(seen.sum() + again.mean())

        return step

    names = replayed(check_recorded(make, log)).names
    assert names == ["mul", "as_strided", "sum", "mean", "add", "add_"]


def test_writes_in_place_are_kept_into_views_too_and_in_their_order(log):
    def make(state):
        def step():
            x = state["x"]
            grid = x.expand(2, 3).clone()
            before = grid[0].clone()
            grid[0].mul_(3)  # nobody uses what this returns
            grid.t()[1].zero_()
            grid[1, 2:] = before[:1]
            x.add_(grid.sum(0))
            x[0] -= 0.5
            x.view(3, 1)[1:].sub_(before[1:, None])

        return step

    check_recorded(make, log)


def test_what_is_made_once_is_not_made_again(log):
    def make(state):
        made = []

        def step():
            if not made:
                made.append(torch.arange(3).double().exp())
            state["x"].add_(made[0])

        return step

    assert replayed(check_recorded(make, log)).names == ["add_"]


def test_autograd_and_several_results_are_recorded(log):
    weight = torch.randn(3, 3, generator=random(0), dtype=torch.float64)

    def make(state):
        def step():
            leaf = state["x"].detach().requires_grad_()
            variance, mean = torch.var_mean(torch.tanh(leaf @ weight), dim=0)
            (gradient,) = torch.autograd.grad(variance + mean, leaf)
            one, two, three = gradient.unbind()
            state["x"].sub_(torch.stack([three, one, two]))

        return step

    check_recorded(make, log)


def test_intermediates_leave_the_memory_when_they_are_used_up_and_none_stays(log):
    def make(state):
        def step():
            x = state["x"]
            for _ in range(20):
                x = x * 1.01
            state["x"].copy_(x)

        return step

    seen = replayed(check_recorded(make, log))
    assert len(seen.names) == 21
    assert max(seen.alive) == 2
    assert [each.expired() for each in seen.made] == [True] * 20 + [False]  # the last shows the state


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_call_is_one_step_also_where_recording_or_comparing_fails_and_tensors_keep_their_place(log, count):
    state = state_of(x=[1.0], y=[2.0], z=[float("nan")])
    calls = []

    def step():
        calls.append(1)
        state["y"].add_(state["x"])
        state["x"].mul_(2)
        if len(calls) == count:
            state["y"].sum().item()

    before = {name: value.data_ptr() for name, value in state.items()}
    run = captured(step, state, "cpu")
    assert len(calls) == 0
    for power in range(1, 6):
        run()
        expected = {"x": [2.0**power], "y": [2.0**power + 1]}
        assert numbers({name: state[name] for name in "xy"}) == expected
        assert bool(state["z"].isnan())
    assert {name: value.data_ptr() for name, value in state.items()} == before
    assert len(calls) == (5 if count == 2 else 3)  # at the first and third call nothing is recorded


# Steps that cannot be recorded.


def item(state, calls):
    if state["x"].sum().item() > 7:
        state["x"].sub_(3)


def truth(state, calls):
    if (state["x"] > 7).any():
        state["x"].sub_(3)


def mask(state, calls):
    state["x"].add_(state["x"][state["x"] > 2].sum())


def places(state, calls):
    state["x"].add_(len(state["x"].gt(2).nonzero()))


def host(state, calls):
    state["x"].add_(sum(state["x"].tolist()))


def array(state, calls):
    state["x"].add_(float(state["x"].numpy().max()))


def counter(state, calls):
    state["x"].add_(len(calls))


def other_operation(state, calls):
    (torch.add if len(calls) % 2 else torch.mul)(state["x"], 3.0, out=state["x"])


def carried(state, calls):
    calls[-1] = state["x"].sum() + sum(calls[:-1])  # a tensor outside of the state, which the next call reads
    state["x"].add_(0.1 * calls[-1])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (item, "_local_scalar_dense.default looks at a value on the host"),
        (truth, "looks at a value on the host"),
        (mask, "index.Tensor looks at a value on the host"),
        (places, "nonzero.default looks at a value on the host"),
        (host, "a replay differs from a call"),
        (array, "a replay differs from a call"),
        (counter, "a replay differs from a call"),
        (other_operation, "a replay differs from a call"),
        (carried, "a replay differs from a call"),
    ],
)
def test_what_cannot_be_recorded_is_called_with_one_line_in_the_log(log, kind, reason):
    def make(state):
        calls = []

        def step():
            calls.append(1)
            state["x"].mul_(1.5)
            kind(state, calls)

        return step

    state, plain = state_of(x=[1.0, 2.0, 3.0]), state_of(x=[1.0, 2.0, 3.0])
    run = captured(make(state), state, "cpu")
    assert trace(run, state) == trace(make(plain), plain)
    (line,) = lines(log)
    assert reason in line
    assert line.startswith("an iteration cannot be recorded (")
    assert line.endswith("); its operations are called one by one, which is slower")
    again = state_of(x=[1.0, 2.0, 3.0])  # the same reason is not said again
    trace(captured(make(again), again, "cpu"), again)
    assert len(lines(log)) == 1


def spectrum(state):
    wave = torch.fft.fft(state["x"])
    state["x"].copy_((wave * wave.conj()).real + torch.view_as_real(wave).sum(1))


def bits(state):
    state["x"].add_((state["x"] * 1.5).view(torch.int64).remainder(7))


def turned(state):
    one = (state["x"] * 1.5).expand(3, 3).clone()
    two = one[:]
    two.t_()
    state["x"].add_((one @ two).sum(0))


@pytest.mark.parametrize("kind", [spectrum, bits, turned])
def test_what_is_rarely_done_is_right_recorded_or_called(kind):
    state, plain = state_of(x=[1.0, 2.0, 3.0]), state_of(x=[1.0, 2.0, 3.0])
    run = captured(lambda: kind(state), state, "cpu")
    assert trace(run, state, 3) == trace(lambda: kind(plain), plain, 3)


def test_other_errors_of_a_step_are_the_callers(log):
    def missing():
        raise KeyError("x")

    def full():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    for step, error in ((missing, KeyError), (full, RuntimeError)):
        with pytest.raises(error):
            captured(step, state_of(x=[1.0]), "cpu")()
    assert lines(log) == []


# Descents.


def run_both(monkeypatch, log, make, iterations=12):
    """The state of a descent after each iteration, recorded, is that of calls; and a recording was used."""
    states = {}
    for way in ("recorded", "called"):
        descent, found = make(iterations), []
        if way == "called":
            monkeypatch.setattr("gradleak.engine.descent.captured", lambda step, state, device: step)
        taken = count_calls(descent)
        outcome = descent.run(
            progress=lambda _, f=found, d=descent: f.append({k: v.clone() for k, v in d.tensors.items()})
        )
        assert taken == [1] * (3 if way == "recorded" else iterations)
        states[way] = [*found, {"outcome": outcome.variables, "total": outcome.objective}]
    assert lines(log) == []
    assert len(states["called"]) == iterations + 2
    for recorded, called in zip(states["recorded"], states["called"], strict=True):
        for name, value in called.items():
            assert recorded[name].numpy().tobytes() == value.numpy().tobytes(), name
    variables = [state["variables"] for state in states["called"][:-1]]
    assert all(not torch.equal(a, b) for a, b in pairwise(variables))


def count_calls(descent):
    taken, step = [], descent._step

    def counted():
        taken.append(1)
        step()

    descent._step = counted
    return taken


def make_gia_o(problem, matcher, weights):
    def make(iterations):
        space = ImageSpace(problem.model)
        start = space.project((problem.candidates - space._mean) / space._std)
        evaluate = matcher(problem.model, problem.targets, OBJECTIVES["cosine"])
        priors = WeightedPriors(weights, problem.updates)
        return Descent(start, space, evaluate, priors, DescentConfig(iterations=iterations, lr=0.05))

    return make


MODELS = {
    "convnet": lambda: model_of("convnet", channels=4, stages=2, layers=1, norm=True),
    "resnet18": lambda: model_of("resnet18", width=0.125, stem="cifar"),
}


def in_precision(problem, dtype):
    """The problem in another precision; its model is changed."""
    problem.model.to(dtype)
    targets = problem.targets
    update = {name: value.to(dtype) for name, value in targets.update.items()}
    problem.targets = type(targets)(update, targets.labels, targets.norm2)
    for each in problem.updates:
        each.batch_statistics[:] = [(mean.to(dtype), var.to(dtype)) for mean, var in each.batch_statistics]
    problem.candidates = problem.candidates.to(dtype)
    return problem


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("name", list(MODELS))
def test_a_recorded_descent_on_images_has_the_bits_of_a_called_one(monkeypatch, log, name, trials, dtype):
    problem = in_precision(problem_of(MODELS[name](), trials, 2), dtype)
    run_both(monkeypatch, log, make_gia_o(problem, ActivationMatcher, {"tv": 0.01, "bn": 0.01}))


def test_a_recorded_descent_of_trials_with_models_of_their_own_has_the_bits_of_a_called_one(monkeypatch, log):
    problem = problem_of(MODELS["convnet"](), 3, 2)
    models = [model_of("convnet", channels=4, stages=2, layers=1, norm=True, seed=seed) for seed in (0, 10, 20)]
    make = make_gia_o(problem, lambda _, *others: ActivationMatcher(models, *others), {"tv": 0.01})
    run_both(monkeypatch, log, make)


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("matcher", [FunctionalMatcher, OneByOneMatcher])
def test_a_recorded_descent_through_local_steps_has_the_bits_of_a_called_one(monkeypatch, log, matcher, trials):
    client = ClientSpec(samples=2, batch_size=1, epochs=2, lr=0.1)
    problem = problem_of(MODELS["convnet"](), trials, 2, client)
    training = problem.updates[0].training
    make = make_gia_o(problem, lambda *arguments: matcher(*arguments, training), {"tv": 0.01, "bn": 0.01})
    run_both(monkeypatch, log, make, iterations=5)


def test_a_recorded_search_for_latent_vectors_has_the_bits_of_a_called_one(monkeypatch, log):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = DcganGenerator(6, 4, 16).double().eval()
    problem = problem_of(MODELS["convnet"](), 2, 2)
    evaluate = ActivationMatcher(problem.model, problem.targets, OBJECTIVES["euclidean"])
    start = torch.randn(2, 2, 6, generator=random(0), dtype=torch.float64)

    def make(iterations):
        space = LatentSpace(generator, problem.targets.labels)
        priors = WeightedPriors({"tv": 0.01}, problem.updates)
        return Descent(start, space, evaluate, priors, DescentConfig(iterations=iterations, lr=0.05, signed=False))

    run_both(monkeypatch, log, make)


class Looking:
    """A matcher that reads the images on the host, where PyTorch does not see it."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, images, priors):
        found = self.inner(images, priors)
        factor = 1 + sum(images.flatten().tolist())
        return Evaluation(found.objective * factor, found.prior, found.gradient * factor)


def test_a_descent_whose_matcher_reads_the_images_on_the_host_is_called(monkeypatch, log):
    problem = problem_of(MODELS["convnet"](), 1, 2)
    make = make_gia_o(problem, lambda *arguments: Looking(ActivationMatcher(*arguments)), {})
    found = make(8).run()
    (line,) = lines(log)
    assert "a replay differs from a call" in line
    monkeypatch.setattr("gradleak.engine.descent.captured", lambda step, state, device: step)
    expected = make(8).run()
    assert torch.equal(found.variables, expected.variables)
    assert torch.equal(found.objective, expected.objective)
