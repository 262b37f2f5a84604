"""BigGAN-deep (Brock et al. 2018): the generator that the paper uses for ImageNet (Appx. B.I), with published weights.

The architecture is that of the package pytorch-pretrained-biggan. Nothing is trained here: `train` reads a file of
weights that lies on this machine (docs/generators.md says where to get it) after its SHA-256 was checked.
"""

import pickle
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils import remove_spectral_norm

from gradleak.auxiliary.base import AUXILIARIES, Generator, TrainContext
from gradleak.auxiliary.gan import GeneratorAuxiliary
from gradleak.data.roles import PublicImages
from gradleak.errors import UserError
from gradleak.files import sha256
from gradleak.frozen import Frozen

_START, _START_WIDTH, _ATTENTION_REDUCTION = 4, 16, 8
_SAME, _UP = False, True
_TO_32 = [(_SAME, 16, 16), (_UP, 16, 16), (_SAME, 16, 16), (_UP, 16, 8), (_SAME, 8, 8)]
_LAYERS = {
    128: [*_TO_32, (_UP, 8, 4), (_SAME, 4, 4), (_UP, 4, 2), (_SAME, 2, 2), (_UP, 2, 1)],
    256: [*_TO_32, (_UP, 8, 8), (_SAME, 8, 8), (_UP, 8, 4), (_SAME, 4, 4), (_UP, 4, 2), (_SAME, 2, 2), (_UP, 2, 1)],
}
_LAYERS[512] = [*_LAYERS[256], (_SAME, 1, 1), (_UP, 1, 1)]


class Architecture(Frozen):
    """The content of the `config.json` that belongs to a file of weights; the defaults are of BigGAN-deep-128.

    A layer is (doubles the resolution, width before, width after), widths in units of `channel_width`.
    """

    output_dim: int = 128
    z_dim: int = Field(128, ge=1)
    class_embed_dim: int = Field(128, ge=1)
    channel_width: int = Field(128, ge=3)
    num_classes: int = Field(1000, ge=1)
    layers: tuple[tuple[bool, int, int], ...] = tuple(_LAYERS[128])
    attention_layer_position: int = Field(8, ge=0)
    eps: float = Field(1e-4, gt=0)
    n_stats: int = Field(51, ge=2)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.class_embed_dim != self.z_dim:
            raise ValueError(f"class_embed_dim is {self.class_embed_dim}, must equal z_dim ({self.z_dim})")
        width = _START_WIDTH
        for number, (_, before, after) in enumerate(self.layers):
            if before != width or after not in (before, before // 2) or after < 1:
                raise ValueError(
                    f"layers: number {number} goes from width {before} to {after}, must go from {width} to the same "
                    "or half of it"
                )
            width = after
        if width != 1:
            raise ValueError(f"layers: the last one ends with width {width}, must end with 1")
        size = _START * 2 ** sum(doubles for doubles, _, _ in self.layers)
        if self.output_dim != size:
            raise ValueError(f"output_dim is {self.output_dim}, but the layers make {size} pixels")
        return self

    @classmethod
    def published(cls, resolution: int) -> Self:
        """That of BigGAN-deep-128, -256 or -512."""
        return cls(output_dim=resolution, layers=tuple(_LAYERS[resolution]))


class BigganGenerator(Generator):
    """The package's network with plain weights: spectral normalisation and the truncation's statistics folded in.

    Folded, because its hooks write into the module on every call, which copies of the weights per trial would not
    survive; at inference the normalised weights are constants.
    """

    def __init__(self, architecture: Architecture, truncation: float, state: dict[str, Tensor] | None = None) -> None:
        """`state`: the package's state dict; without it, weights are random. Raises UserError if it does not fit."""
        super().__init__()
        self.latent_size, self.resolution = architecture.z_dim, architecture.output_dim
        self.num_classes, self.truncation = architecture.num_classes, truncation
        self.network = _network(architecture)
        if state is not None:
            _load(self.network, state)
        _fold(self.network, truncation)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """See `Generator`."""
        classes = torch.arange(self.num_classes, device=labels.device)
        one_hot = (labels[:, None] == classes).to(latents.dtype)
        condition = torch.cat([self.truncation * latents, self.network.embeddings(one_hot)], dim=1)
        return (self.network.generator(condition, 0.0) + 1) / 2


@AUXILIARIES.register("biggan")
class Biggan(GeneratorAuxiliary):
    """Conditional generator that others trained on the whole training split of ImageNet, tuning images included.

    `weights` is the file of a state dict, `sha256` its checksum: there is no other way to get a generator. `truncation`
    multiplies the latent vectors and chooses the statistics of the normalisation (Brock et al. 2018, Sec. 3.1). Without
    `architecture` it is the published one of the data set's resolution.
    """

    name: Literal["biggan"] = "biggan"
    weights: Path
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    truncation: float = Field(1.0, gt=0, le=1)
    architecture: Architecture | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        resolution = self.dataset.resolution
        if self.architecture is None and resolution not in _LAYERS:
            raise ValueError(f"dataset.resolution is {resolution}; published for 128, 256 or 512 pixels")
        if self.architecture is not None and self.architecture.output_dim != resolution:
            raise ValueError(
                f"dataset.resolution is {resolution}, but architecture.output_dim is {self.architecture.output_dim}"
            )
        return self

    @property
    def built(self) -> Architecture:
        """The architecture, after defaulting to the published one."""
        return self.architecture or Architecture.published(self.dataset.resolution)

    def build(self, num_classes: int) -> BigganGenerator:
        """Random weights, seeded; raises UserError where the data set has other classes than the generator."""
        self._check_classes(num_classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return BigganGenerator(self.built, self.truncation).eval()

    def train(self, public: PublicImages, context: TrainContext) -> Generator:
        """Read the published weights; raises UserError for a file that is missing, another, or does not fit."""
        self._check_classes(public.num_classes)
        return BigganGenerator(self.built, self.truncation, self._read()).eval()

    def _check_classes(self, num_classes: int) -> None:
        known = self.built.num_classes
        if num_classes != known:
            raise UserError(
                f"biggan: data set '{self.dataset.labels_of}' has {num_classes} classes, the generator {known}; use "
                "the data set that it was trained on, or map classes to it with dataset.label_space"
            )

    def _read(self) -> dict[str, Tensor]:
        path = self.weights
        if not path.is_file():
            raise UserError(f"biggan: weights '{path}' are missing; docs/generators.md says where to get them")
        found = sha256(path)
        if found != self.sha256:
            raise UserError(f"biggan: SHA-256 of weights '{path}' is {found}, must be {self.sha256}")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise UserError(f"biggan: weights '{path}' are no state dict ({str(error).splitlines()[0]})") from None
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise UserError(f"biggan: weights '{path}' are no state dict (a {type(state).__name__})")
        return state


def _network(architecture: Architecture) -> Any:
    try:
        from pytorch_pretrained_biggan import BigGAN, BigGANConfig
    except ImportError as error:
        raise UserError(f"biggan: {error}; install it with `pip install pytorch-pretrained-biggan==0.1.1`") from None
    network = BigGAN(BigGANConfig(**architecture.model_dump()))
    nn.init.ones_(network.generator.bn.weight)  # the package leaves both as the memory was
    nn.init.zeros_(network.generator.bn.bias)
    return network


def _load(network: nn.Module, state: dict[str, Tensor]) -> None:
    try:
        # As the package does: what the file has beyond the network is ignored. What it lacks is not.
        lacking = network.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"biggan: weights do not fit the architecture ({reason[:200]})") from None
    if lacking:
        raise UserError(f"biggan: weights lack '{lacking[0]}' and {len(lacking) - 1} more that the architecture has")


def _fold(network: nn.Module, truncation: float) -> None:
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "weight_orig"):
                setattr(module, name, _plain(child))
        if hasattr(module, "running_means"):
            # One row instead of one per tabulated truncation. The package's own interpolation swaps the two weights.
            tables: Any = module
            place = truncation / tables.step_size
            for name in ("running_means", "running_vars"):
                module.register_buffer(name, _interpolated(getattr(module, name), place))
            tables.step_size = 1.0


def _plain(normalised: nn.Module) -> nn.Module:
    """A layer with the normalised weights; a new one, because removing the normalisation leaves hooks behind."""
    layer = remove_spectral_norm(normalised)
    fresh: nn.Module
    if isinstance(layer, nn.Conv2d):
        size: Any = layer.kernel_size
        fresh = nn.Conv2d(
            layer.in_channels, layer.out_channels, size, padding=size[0] // 2, bias=layer.bias is not None
        )
    else:
        assert isinstance(layer, nn.Linear)
        fresh = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    fresh.load_state_dict(dict(layer.named_parameters()))
    return fresh


def _interpolated(table: Tensor, place: float) -> Tensor:
    """Row `place` of a table (rows, C), as (1, C)."""
    low = min(int(place), len(table) - 2)
    return table[low : low + 1].lerp(table[low + 1 : low + 2], place - low)
