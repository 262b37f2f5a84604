"""What ROG (Yue et al. 2023) learns on public images: a low-dimensional space of images, and an enhancement network."""

from collections.abc import Callable
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from gradleak.auxiliary.base import AUXILIARIES, Auxiliary, PerImage, Samples, TrainContext, some
from gradleak.auxiliary.training import training_steps
from gradleak.data.roles import PublicImages, TuningImages
from gradleak.resume import training_tensors

_JUDGED = 100


class RogModel(nn.Module):
    """Codes (n, c, H/f, W/f) to images and back, and the enhancement of images (n, 3, H, W) in [0, 1]."""

    def __init__(self, rog: "Rog") -> None:
        super().__init__()
        learned = rog.space == "autoencoder"
        self.code_shape = (rog.code_channels, *(2 * [rog.dataset.resolution // rog.factor]))
        self.resolution = rog.dataset.resolution
        self.encoder: nn.Module = _encoder(rog) if learned else Bicubic(self.resolution, 1 / rog.factor)
        self.decoder: nn.Module = _decoder(rog) if learned else Bicubic(self.code_shape[-1], rog.factor)
        self.enhancer = Enhancer(rog.channels, rog.blocks)

    def encode(self, images: Tensor) -> Tensor:
        """Codes (n, c, H/f, W/f) of images (n, 3, H, W) in [0, 1]."""
        return self.encoder(images * 2 - 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Images (n, 3, H, W) of codes; about [0, 1], not clamped: the search needs a gradient everywhere."""
        return (self.decoder(codes) + 1) / 2

    def enhance(self, images: Tensor) -> Tensor:
        """Sharper images (n, 3, H, W) in [0, 1]."""
        return self.enhancer(images.clamp(0, 1)).clamp(0, 1)


class Bicubic(nn.Module):
    """Bicubic interpolation of square images, as matrix products, which are deterministic on every device."""

    matrix: Tensor

    def __init__(self, size: int, factor: float) -> None:
        super().__init__()
        self.register_buffer("matrix", _bicubic_matrix(size, factor), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scale (n, c, size, size) to (n, c, size f, size f)."""
        return self.matrix @ images @ self.matrix.mT


def _bicubic_matrix(size: int, factor: float) -> Tensor:
    identity = torch.eye(size)[None, None]
    scaled = F.interpolate(
        identity, size=(round(size * factor), size), mode="bicubic", align_corners=False, antialias=factor < 1
    )
    return scaled[0, 0]


class Enhancer(nn.Module):
    """Residual blocks without normalisation, added to their input."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList([_Block(channels) for _ in range(blocks)])
        self.last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, 3, H, W) to the same shape."""
        x = self.first(images)
        for block in self.blocks:
            x = block(x)
        return images + self.last(x)


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _encoder(rog: "Rog") -> nn.Module:
    c, halvings = rog.channels, rog.factor.bit_length() - 1
    parts: list[nn.Module] = [nn.Conv2d(3, c, 3, padding=1), nn.ReLU()]
    for _ in range(halvings):
        parts += [nn.Conv2d(c, c, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv2d(c, rog.code_channels, 3, padding=1), nn.Tanh())


def _decoder(rog: "Rog") -> nn.Module:
    c, doublings = rog.channels, rog.factor.bit_length() - 1
    parts: list[nn.Module] = [nn.Conv2d(rog.code_channels, c, 3, padding=1), nn.ReLU()]
    for _ in range(doublings):
        parts += [nn.ConvTranspose2d(c, c, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv2d(c, 3, 3, padding=1), nn.Tanh())


@AUXILIARIES.register("rog")
class Rog(Auxiliary):
    """Trains the autoencoder, if there is one, then the enhancement network, on the L1 distance.

    `space`: images are represented by bicubic down-sampling, or by a learned autoencoder, `factor` times smaller. The
    enhancement network sees decoded codes with noise of standard deviation up to `noise` and learns the image.
    """

    name: Literal["rog"] = "rog"
    space: Literal["bicubic", "autoencoder"] = "bicubic"
    factor: Literal[2, 4] = 2
    code_channels: int = Field(3, ge=1)
    channels: int = Field(32, ge=4)
    blocks: int = Field(4, ge=1)
    noise: float = Field(0.2, ge=0)
    steps: int = Field(5000, ge=1)
    batch_size: int = Field(32, ge=1)
    lr: float = Field(1e-3, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dataset.resolution % self.factor:
            raise ValueError(f"resolution {self.dataset.resolution} is not a multiple of factor {self.factor}")
        if self.space == "bicubic" and self.code_channels != 3:
            raise ValueError("code_channels must be 3 where space is bicubic")
        return self

    @property
    def total_steps(self) -> int:
        """Training steps of both networks."""
        return self.steps * (2 if self.space == "autoencoder" else 1)

    def training_cost(self) -> float:
        """Operations: three passes of all convolutions at full resolution."""
        layers = 2 * self.blocks + 2 + (4 if self.space == "autoencoder" else 0)
        return 3 * 18 * self.channels**2 * layers * self.dataset.resolution**2 * self.batch_size * self.steps

    def build(self, num_classes: int) -> RogModel:
        """PyTorch's default initialisation, seeded; the enhancement network starts as the identity."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = RogModel(self)
        nn.init.zeros_(model.enhancer.last.weight)
        nn.init.zeros_(model.enhancer.last.bias)  # type: ignore[arg-type]
        return model.eval()

    def train(self, public: PublicImages, context: TrainContext) -> RogModel:
        """See `Auxiliary.train`."""
        model = self.build(public.num_classes).to(context.device).train()
        if self.space == "autoencoder":
            parts = [*model.encoder.parameters(), *model.decoder.parameters()]
            self._fit("autoencoder", model, parts, public, context, lambda x, noise: model.decode(model.encode(x)))

        def enhanced(x: Tensor, noise: Tensor) -> Tensor:
            with torch.no_grad():
                codes = model.encode(x)
                coarse = model.decode(codes + noise)
            return model.enhancer(coarse.clamp(0, 1))

        self._fit("enhancer", model, list(model.enhancer.parameters()), public, context, enhanced)
        return model.eval().cpu()

    def samples(self, model: nn.Module, public: PublicImages, count: int) -> Samples:
        """Public images beside their decoded noisy codes and the enhanced picture, in turn."""
        assert isinstance(model, RogModel)
        chosen = range(min(public.size, -(-count // 3)))
        images = public.images(chosen)
        random = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            codes = model.encode(images)
            coarse = model.decode(codes + self.noise * torch.randn(codes.shape, generator=random)).clamp(0, 1)
            fine = model.enhance(coarse)
        rows = torch.stack([images, coarse, fine], dim=1).flatten(0, 1)
        return Samples(rows, ["image", "decoded", "enhanced"] * len(images))

    def quality(
        self, model: nn.Module, public: PublicImages, tuning: TuningImages, lpips: PerImage
    ) -> dict[str, float]:
        """Mean LPIPS of held-out images to themselves decoded, and decoded and enhanced (no noise)."""
        assert isinstance(model, RogModel)
        images = tuning.images(some(_JUDGED, tuning.size))
        with torch.no_grad():
            coarse = model.decode(model.encode(images)).clamp(0, 1)
            fine = model.enhance(coarse)
        return {
            "lpips_decoded": float(lpips(images, coarse).mean()),
            "lpips_enhanced": float(lpips(images, fine).mean()),
        }

    def _fit(
        self,
        stage: str,
        model: RogModel,
        parameters: list[nn.Parameter],
        public: PublicImages,
        context: TrainContext,
        output: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """Minimise the L1 distance of `output(images, noise for their codes)` to the images over some parameters."""
        optimizer = torch.optim.Adam(parameters, lr=self.lr)
        tensors = training_tensors({"model": model}, {"optimizer": optimizer})
        for step, random in training_steps(self, self.steps, tensors, context, stage):
            images = public.images(torch.randint(public.size, (self.batch_size,), generator=random)).to(context.device)
            level = self.noise * torch.rand(len(images), 1, 1, 1, generator=random)
            noise = level * torch.randn(len(images), *model.code_shape, generator=random)
            optimizer.param_groups[0]["lr"] = self.lr * (1 - step / self.steps)
            optimizer.zero_grad()
            (output(images, noise.to(context.device)) - images).abs().mean().backward()
            optimizer.step()
