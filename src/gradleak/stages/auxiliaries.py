"""Trained auxiliary models, read from the files that stage `pretrain` wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gradleak.auxiliary.base import Auxiliary
from gradleak.data.opening import open_view
from gradleak.errors import UserError
from gradleak.study.ids import auxiliary_id

if TYPE_CHECKING:
    from gradleak.study.config import Config


def load_auxiliary(auxiliary: Auxiliary, config: "Config", folder: Path) -> nn.Module:
    """A trained auxiliary model from a folder. Raises UserError if its file is missing or does not fit."""
    path = folder / f"{auxiliary_id(auxiliary, config)}.safetensors"
    dataset = open_view(auxiliary.dataset, config.data, config.cache)
    model = auxiliary.build(dataset.num_classes)
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: auxiliary model '{auxiliary.title}' is missing; run `gradleak pretrain`") from None
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not the weights of '{auxiliary.title}' ({reason[:200]})") from None
    return model.eval()


def auxiliary_loader(config: "Config", folder: Path) -> Callable[[Auxiliary], nn.Module]:
    """The function that gives an attack its auxiliary models: `load_auxiliary`, each model read once."""
    loaded: dict[str, nn.Module] = {}

    def load(auxiliary: Auxiliary) -> nn.Module:
        if auxiliary.id not in loaded:
            loaded[auxiliary.id] = load_auxiliary(auxiliary, config, folder)
        return loaded[auxiliary.id]

    return load
