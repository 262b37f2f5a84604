"""Every wrong input is one line that names what is wrong."""

import pytest
import torch
import yaml
from audit_cases import settings
from core_cases import gradleak
from safetensors.torch import save_file

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def whitening(**changes):
    """Whitening's settings as an audit's only attack has them."""
    return {"attacks": [{"name": "gia-o", "whitening": changes}]}


@pytest.fixture
def fails(folder, config):
    def fails(**changes):
        (folder / "audit.yaml").write_text(yaml.safe_dump(settings(**changes)))
        ran = gradleak("audit", folder / "audit.yaml", "--out", folder / "out", "--config", config)
        assert ran.code == 2
        assert len(ran.err.strip().splitlines()) == 1, ran.err
        assert not (folder / "out").exists()
        return ran.err

    return fails


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "model: Field required"),
        ({"modle": {}}, "modle: unknown key"),
        ({"model": {"import": "own_net"}}, "model.import: String should match pattern"),
        ({"model": {"import": "own_net:Net", "name": "resnet18"}}, "exactly one of import"),
        ({"model": {"import": "nosuch:Net"}}, "'nosuch' is no module beside the audit's file"),
        ({"model": {"import": "own_net:Nut"}}, "has no 'Nut'"),
        ({"model": {"import": "own_net:not_a_model"}}, "is no class or function"),
        ({"model": {"import": "own_net:a_number"}}, "returns int, not a torch.nn.Module"),
        ({"model": {"import": "own_net:Net", "options": {"depth": 3}}}, "'depth'"),
        ({"model": {"import": "own_net:Net", "options": {"channels": 1}}}, "takes images of 1 channel(s)"),
        ({"images": {"dataset": "photos10", "resolution": 24}}, "does not take images (1, 3, 24, 24)"),
        ({"model": {"import": "own_net:Net", "options": {"kind": "map"}}}, "with logits (1, classes)"),
        ({"model": {"import": "own_net:Net", "options": {"kind": "softmax"}}}, "probabilities"),
        ({"model": {"import": "own_net:Net", "options": {"kind": "random"}}}, "answers the same images differently"),
        ({"model": {"import": "own_net:Net", "options": {"classes": 7}}}, "'motorcycle_left' has label 7"),
        ({"model": {"import": "own_net:Net", "options": {"classes": 12}}}, "list the names of all of them"),
        ({"model": {"name": "nosuch"}}, "unknown model 'nosuch'"),
        ({"model": {"torchscript": "nosuch.pt"}}, "no such TorchScript file"),
        ({"images": {"path": "nosuch"}}, "does not exist"),
        ({"images": {"dataset": "photos10", "classes": ["china"]}}, "images.classes: lacks"),
        ({"client": {"optimizer": "adam", "momentum": 0.9}}, "client: momentum is 0.9, but optimizer is 'adam'"),
        ({"client": {"optimizer": "lion"}}, "client.optimizer: Input should be 'sgd' or 'adam'"),
        ({"trials": 10_000}, "10000 clients of 1 images need 10000"),
        ({"defenses": ["none", "none"]}, "'none' appears more than once"),
        ({"checkpoints": [{"round": 1}, {"round": "1"}]}, "'1' appears more than once"),
        ({"attacks": [{"name": "gia-o"}, {"name": "gia-o"}]}, "'GIA-O' appears more than once"),
        ({"attacks": [{"name": "gia-o", "prior": {}}]}, "attacks.0.config.prior: unknown key"),
        (whitening(power=0), "attacks.0.config.whitening.power: Input should be greater than 0 (found 0)"),
        (whitening(power=1), "attacks.0.config.whitening.power: Input should be less than or equal to 0.25 (found 1)"),
        (whitening(damping=0), "attacks.0.config.whitening.damping: Input should be greater than 0 (found 0)"),
        (whitening(strength=1), "attacks.0.config.whitening.strength: unknown key"),
    ],
)
def test_wrong_input(fails, changes, message):
    assert message in fails(**changes)


def weights(folder, **changes):
    import sys

    sys.path.insert(0, str(folder))
    try:
        from own_net import Net
    finally:
        sys.path.remove(str(folder))
    state = {**Net().state_dict(), **changes}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv.weight": None}, "has no 'conv.weight', which the model has"),
        (
            {"conv.weight": torch.zeros(6, 1, 5, 5)},
            "'conv.weight' has the shape (6, 1, 5, 5), but the model's has (6, 3, 5, 5)",
        ),
        ({"head.weight": torch.zeros(2)}, "has 'head.weight', which the model does not have"),
    ],
)
def test_weights_that_do_not_fit_name_the_parameter(fails, folder, changes, message):
    save_file(weights(folder, **changes), folder / "later.safetensors")
    error = fails(checkpoints=[{"round": 0}, {"round": 5, "weights": "later.safetensors"}])
    assert message in error
    assert "later.safetensors" in error


def test_a_pickle_is_not_read(fails, folder):
    class Harmful:
        def __reduce__(self):
            return (folder.joinpath("was_read").touch, ())

    torch.save(Harmful(), folder / "w.pt")
    assert "a pickle can run code" in fails(checkpoints=[{"round": 0, "weights": "w.pt"}])
    assert "not TorchScript" in fails(model={"torchscript": "w.pt"})
    assert not (folder / "was_read").exists()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_model_saved_in_training_mode_by_tracing_is_found(fails, folder):
    weights(folder)
    from own_net import Net

    torch.jit.trace(Net().train(), torch.rand(2, 3, 16, 16), check_trace=False).save(folder / "net.pt")
    assert "answers the same images differently" in fails(model={"torchscript": "net.pt"})


def test_batch_statistics_of_torchscript_are_refused(fails, folder):
    weights(folder)
    from own_net import Net

    torch.jit.script(Net().eval()).save(folder / "net.pt")
    assert "client.bn_mode: 'train' needs model.import" in fails(
        model={"torchscript": "net.pt"}, client={"bn_mode": "train"}
    )
