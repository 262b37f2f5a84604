"""AUDIT.yaml: a model, its checkpoints, images, a client, defenses and attacks. Validated; unknown keys are errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gradleak.attacks.base import Attack
from gradleak.attacks.gia_o import GiaO
from gradleak.attacks.matching import MatchingAttack
from gradleak.attacks.surrogate import Surrogate
from gradleak.data.base import Columns, SplitNames
from gradleak.documents import read_yaml
from gradleak.frozen import Frozen
from gradleak.post_processing.base import Defense
from gradleak.post_processing.chain import Chain, biased, strength, technique
from gradleak.specs import ClientSpec
from gradleak.study.cell import AnyAttack


class Normalisation(Frozen):
    """What happens to images in [0, 1] before they enter the network: (image - mean) / std per channel."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _per_channel(self) -> Self:
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean):
            raise ValueError("mean and std must have one number for each channel, 1 or 3")
        return self


class ModelSource(Frozen):
    """Where the network comes from: exactly one of an import path, a TorchScript file, a model of this package.

    `import` is `module:factory`. The factory is called with `options` and returns a module that maps (n, 3, H, W) to
    logits (n, classes); with `channels` 1 the images are (n, 1, H, W), their luminance. Without `normalise` the network
    gets images in [0, 1] as they are (a model of this package: the normalisation of the data set).
    """

    factory: str | None = Field(None, alias="import", pattern=r"^[\w.]+:[\w.]+$")
    torchscript: Path | None = None
    name: str | None = None
    width: float = Field(1.0, gt=0, le=4)
    options: Mapping[str, Any] = {}
    channels: Literal[1, 3] = 3
    normalise: Normalisation | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [self.factory, self.torchscript, self.name]
        if sum(value is not None for value in given) != 1:
            raise ValueError("give exactly one of import (package.module:factory), torchscript (a file), name")
        if self.torchscript is not None and self.options:
            raise ValueError("options belong to import and name; a TorchScript file is called as it is")
        if self.normalise is not None and len(self.normalise.mean) != self.channels:
            raise ValueError(f"normalise has {len(self.normalise.mean)} channels, but channels is {self.channels}")
        if self.name is None and "width" in self.model_fields_set:
            raise ValueError("width belongs to name; give it to your own factory in options")
        return self

    @property
    def text(self) -> str:
        """The source as a page shows it."""
        if self.torchscript is not None:
            return f"{self.torchscript.name} (TorchScript)"
        return str(self.factory or self.name)


class Checkpoint(Frozen):
    """One federated round: its label and its weights. None stands for the weights that the source brings."""

    round: str | int
    weights: Path | None = None


class ImageSource(Frozen):
    """Images that a client might hold: a folder of class subfolders or Parquet (`path`), or a known data set.

    Label k is the k-th of `classes`, by default the sorted names of the classes. `columns` and `splits` are those of a
    data source (`DataSource`), for what lies at `path`.
    """

    path: Path | None = None
    dataset: str | None = None
    resolution: int = Field(32, ge=8, le=512)
    classes: tuple[str, ...] | None = Field(None, min_length=1)
    columns: Columns = Field({})
    splits: SplitNames = Field({})

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give exactly one of path (a folder of class subfolders, or Parquet) and dataset (a name)")
        if self.path is None and (self.columns or self.splits):
            raise ValueError("columns and splits belong to path; a known data set has its own (config: data)")
        twice = next((name for name in self.classes or () if (self.classes or ()).count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"classes lists '{twice}' more than once")
        return self


def _parse_entry(value: object) -> object:
    if not isinstance(value, dict) or "config" in value:
        return value
    title = {"title": value["title"]} if "title" in value else {}
    return {"config": {key: item for key, item in value.items() if key != "title"}, **title}


class AuditAttack(Frozen):
    """An attack under a title, which says by default what it is and what it simulates."""

    title: str = Field("", max_length=60)
    config: AnyAttack

    @model_validator(mode="after")
    def _titled(self) -> Self:
        if not self.title:
            knows = [] if self.config.knowledge == "bst" else ["local steps"]
            knows += ["post-processing"] if getattr(self.config, "adaptive", False) else []
            ways = {"surrogate": "surrogate", "whitening": "whitened"}
            words = [self.config.name.upper(), *(word for key, word in ways.items() if getattr(self.config, key, None))]
            words += [f"knows {' and '.join(knows)}"] if knows else []
            object.__setattr__(self, "title", ", ".join(words))
        return self

    @property
    def level(self) -> int:
        """The knowledge level that it needs."""
        return self.config.level


class AuditSpec(Frozen):
    """A whole audit. Every trial is one client: `trials` times N images are drawn, none twice, by `seed`."""

    title: str = Field("Audit", max_length=80)
    model: ModelSource
    checkpoints: tuple[Checkpoint, ...] = Field((Checkpoint(round=0),), min_length=1)
    images: ImageSource
    client: ClientSpec = ClientSpec()
    defenses: tuple[Chain, ...] = Field(((),), min_length=1)
    attacks: tuple[Annotated[AuditAttack, BeforeValidator(_parse_entry)], ...] = ()
    trials: int = Field(8, ge=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.attacks:
            object.__setattr__(self, "attacks", default_attacks(self.client))
        coloured = next((item.title for item in self.attacks if item.config.auxiliaries()), None)
        if self.model.channels != 3 and coloured is not None:
            raise ValueError(
                f"model.channels is {self.model.channels}, but attack '{coloured}' has a network of colour images"
            )
        for key, names in (
            ("checkpoints: round", [str(checkpoint.round) for checkpoint in self.checkpoints]),
            ("defenses:", [defense_title(chain) for chain in self.defenses]),
            ("attacks: title", [attack.title for attack in self.attacks]),
        ):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{key} '{twice}' appears more than once")
        return self

    @property
    def batch_sizes(self) -> list[int]:
        """How many images the model is given at once: by the client's mini-batches, and by attacks that take all N."""
        client = self.client
        whole = [client.samples] if any(attack.config.knowledge == "bst" for attack in self.attacks) else []
        return sorted({client.minibatch, client.samples % client.minibatch, *whole} - {0})

    def stand_in(self, attack: AuditAttack, chain: tuple[Defense, ...]) -> AuditAttack:
        """The first attack of the list that does the same to updates after a chain, with less knowledge perhaps.

        Simulating one local step, or a post-processing that is unbiased, changes nothing: such an attack need not run.
        """
        same = self._effective(attack.config, chain)
        return next(other for other in self.attacks if self._effective(other.config, chain) == same)

    def _effective(self, attack: Attack, chain: tuple[Defense, ...]) -> Attack:
        changes: dict[str, object] = {}
        if self.client.updates == 1:
            changes["knowledge"] = "bst"
        if self.client.updates == 1 and isinstance(attack, MatchingAttack):
            changes["surrogate"] = None
        if isinstance(attack, MatchingAttack) and not biased(chain):
            changes["adaptive"] = False
        return attack.model_copy(update=changes)


def default_attacks(client: ClientSpec) -> tuple[AuditAttack, ...]:
    """GIA-O of a server that knows nothing of the client's side, and of one that knows and simulates all of it.

    The latter and one of the former compare whitened gradients, by the settings of a search (`gia-o-whitened-n4` in
    workflow/tuned), which is mostly better. Two are plain, with two weights of total variation, because which one is
    better depends on the model, its round and the defense (docs/audit.md). Of a client that takes several steps, one
    more matches between the model that was sent and the one that was received (docs/local_steps.md).
    """
    descent = {"iterations": 600}
    rough, smooth = (
        GiaO.model_validate({"priors": {"tv": weight}, "init": "uniform", "descent": descent})
        for weight in (0.01, 0.05)
    )
    settings = {"priors": {"tv": 0.2}, "whitening": {"power": 0.1, "damping": 0.01}, "descent": {**descent, "lr": 0.4}}
    whitened = GiaO.model_validate({"init": "uniform", **settings})
    knowing = whitened.model_copy(update={"adaptive": True, "knowledge": "wst" if client.updates > 1 else "bst"})
    between = AuditAttack(title="GIA-O, surrogate", config=whitened.model_copy(update={"surrogate": Surrogate()}))
    return (
        AuditAttack(title="GIA-O", config=rough),
        AuditAttack(title="GIA-O, smoother", config=smooth),
        AuditAttack(title="GIA-O, whitened", config=whitened),
        *([between] if client.updates > 1 else []),
        AuditAttack(title="GIA-O, adaptive", config=knowing),
    )


def defense_title(chain: tuple[Defense, ...]) -> str:
    """A chain as a page shows it: `none`, `Quantization 2-bit`, `Clipping 1 + Perturbation 0.1`."""
    return " + ".join(f"{technique((step,))} {strength((step,))}" for step in chain) or "none"


def load_audit(path: Path) -> AuditSpec:
    """Read AUDIT.yaml, whose paths are relative to its folder. Raises UserError naming file, key, what is allowed."""
    spec = AuditSpec.parse(read_yaml(path), str(path))
    folder = path.parent
    model, images = spec.model, spec.images
    if model.torchscript is not None:
        model = model.model_copy(update={"torchscript": folder / model.torchscript})
    if images.path is not None:
        images = images.model_copy(update={"path": folder / images.path})
    checkpoints = tuple(
        item if item.weights is None else item.model_copy(update={"weights": folder / item.weights})
        for item in spec.checkpoints
    )
    return spec.model_copy(update={"model": model, "images": images, "checkpoints": checkpoints})
