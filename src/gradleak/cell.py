"""The cell: one frozen, validated description of an experiment, and the unit of work.

A cell's id is a hash of its content. Cells that look alike to the adversary but for the update belong to one *family*:
they are trials that run vectorised together.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from gradleak.attacks.base import ATTACKS, AttackConfig
from gradleak.errors import UserError, first_error
from gradleak.federated.spec import FederatedSpec
from gradleak.post_processing.chain import Chain, columns, strength, technique
from gradleak.smoothness.spec import SmoothnessSpec

Scalar = str | int | float | bool | None


class Frozen(BaseModel):
    """Base of every part of a cell: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _parse_classes(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, list | tuple | dict):
        raise ValueError("must be a list of class names, or a mapping {own class: class in label_space}")
    names = [*value, *value.values()] if isinstance(value, dict) else list(value)
    other = next((name for name in names if not isinstance(name, str)), None)
    if other is not None:
        raise ValueError(f"class names are text, {other!r} is not; put it in quotes")
    if not names:
        raise ValueError("is empty; name at least one class, or leave it out to use all")
    if isinstance(value, dict):
        return dict(sorted(value.items()))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"lists '{twice}' more than once")
    return tuple(sorted(names))


class DatasetSpec(Frozen):
    """Which images: a data set at a resolution (height = width in pixels), whole or some of its classes.

    `classes` lists the names of the classes to use; the model still tells all classes of the data set apart. With
    `label_space`, the name of another data set, the model is one for that data set's classes and normalisation, and
    `classes` maps own class names to class names there. Both are kept sorted: their order means nothing.
    """

    name: str
    resolution: int = Field(32, ge=8, le=512)
    classes: Annotated[tuple[str, ...] | dict[str, str] | None, BeforeValidator(_parse_classes)] = None
    label_space: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.label_space is None and isinstance(self.classes, dict):
            raise ValueError("classes is a mapping, but there is no label_space; list the names, or add label_space")
        if self.label_space is not None and not isinstance(self.classes, dict):
            raise ValueError(
                f"label_space is '{self.label_space}', so classes must be a mapping "
                f"{{class of '{self.name}': class of '{self.label_space}'}}"
            )
        if self.label_space == self.name:
            raise ValueError(f"label_space is '{self.name}', the data set itself; must be another or left out")
        return self

    @property
    def labels_of(self) -> str:
        """Name of the data set whose classes and normalisation the model has."""
        return self.name if self.label_space is None else self.label_space

    @property
    def classes_text(self) -> str | None:
        """The chosen classes as text: `a, b`, or `a -> x, b -> y` for a mapping; None where all are used."""
        if self.classes is None:
            return None
        if isinstance(self.classes, dict):
            return ", ".join(f"{own} -> {target}" for own, target in self.classes.items())
        return ", ".join(self.classes)


class ModelSpec(Frozen):
    """Which model: a registered architecture, its variant, and the checkpoint's federated round.

    Round 0 is PyTorch's default initialisation; a later one needs the `training` that it is a round of. At round 0 a
    given training is dropped, so that a study may vary the round from 0 on. `options` are keyword arguments of the
    architecture.
    """

    name: str = "resnet18"
    width: float = Field(1.0, gt=0, le=4)
    round: int = Field(0, ge=0)
    init_seed: int = Field(0, ge=0)
    options: dict[str, Scalar] = {}
    # Left out of the content where there is none: ids of untrained models do not depend on it.
    training: FederatedSpec | None = Field(None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.round == 0:
            object.__setattr__(self, "training", None)
        elif self.training is None:
            raise ValueError(f"round is {self.round}, but there is no training (model.training: clients, rounds, ...)")
        elif self.round > self.training.rounds:
            raise ValueError(f"round is {self.round}, but training.rounds is {self.training.rounds}")
        return self


class ClientSpec(Frozen):
    """The victim client's local training (Sec. 2.1): N samples, mini-batch B, E epochs, hence U = E ceil(N/B).

    `steps` may state U as a check; `lr` is the local learning rate eta. `bn_mode` says whether batch normalisation
    uses running statistics (`eval`) or those of the mini-batch (`train`) during the local update.
    """

    samples: int = Field(1, ge=1)
    batch_size: int | None = Field(None, ge=1)
    epochs: int = Field(1, ge=1)
    steps: int | None = Field(None, ge=1)
    lr: float = Field(0.01, gt=0)
    bn_mode: Literal["eval", "train"] = "eval"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        size = self.samples if self.batch_size is None else self.batch_size
        if size > self.samples:
            raise ValueError(f"batch_size B is {size}, but the client has only N={self.samples} samples")
        steps = self.epochs * -(-self.samples // size)
        if self.steps is not None and self.steps != steps:
            raise ValueError(f"steps U is {self.steps}, but N={self.samples}, B={size}, E={self.epochs} give U={steps}")
        object.__setattr__(self, "batch_size", size)
        object.__setattr__(self, "steps", steps)
        return self

    @property
    def minibatch(self) -> int:
        """B, after defaulting to N."""
        assert self.batch_size is not None
        return self.batch_size

    @property
    def updates(self) -> int:
        """U, the number of local steps."""
        assert self.steps is not None
        return self.steps

    @property
    def protocol(self) -> str:
        """`fedsgd` where one full-batch step is shared as a gradient, else `fedavg`."""
        return "fedsgd" if self.updates == 1 else "fedavg"


def _parse_attack(value: object) -> object:
    if isinstance(value, AttackConfig):
        return value
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError("attack needs a 'name'; known: " + ", ".join(ATTACKS.names()))
    return ATTACKS[str(value["name"])].Config.model_validate(value)


#: The type of a configuration's key: reads the settings of any registered attack, which `name` names.
AnyAttack = Annotated[SerializeAsAny[AttackConfig], BeforeValidator(_parse_attack)]


class Cell(Frozen):
    """One experiment. Everything that decides the result is in here; nothing else is.

    `post_processing` is what the client does to its update: a chain of defenses (Sec. 6), `none` where it is empty.
    `knowledge_level` (Sec. 2.2) is what the study grants the adversary; an attack that needs more is refused.
    `smoothness` asks for IGSA (Eq. 10) of the model at the victims' images; the attack knows nothing of it.
    """

    dataset: DatasetSpec
    model: ModelSpec = ModelSpec()
    client: ClientSpec = ClientSpec()
    post_processing: Chain = ()
    attack: AnyAttack
    # Left out of the content where there is none: ids of cells that do not ask for it do not depend on it.
    smoothness: SmoothnessSpec | None = Field(None, exclude_if=lambda value: value is None)
    knowledge_level: int = Field(1, ge=0, le=5)
    victims: tuple[int, ...]
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.victims) != self.client.samples:
            raise ValueError(f"victims lists {len(self.victims)} images, but client.samples N is {self.client.samples}")
        if len(set(self.victims)) != len(self.victims) or min(self.victims) < 0:
            raise ValueError(f"victims must be distinct indices from 0 up, found {list(self.victims)}")
        needed = ATTACKS[self.attack.name].level(self.attack)
        if needed > self.knowledge_level:
            raise ValueError(
                f"attack '{self.attack.name}' as configured needs knowledge level {needed}, "
                f"but knowledge_level grants {self.knowledge_level}"
            )
        return self

    @classmethod
    def parse(cls, content: object, where: str) -> "Cell":
        """Validate parsed YAML or JSON; raises UserError naming `where`, the key, the value and what is allowed."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{where}: {first_error(error)}") from None

    @property
    def id(self) -> str:
        """Hash of the whole content (16 hexadecimal digits)."""
        return digest(self.model_dump(mode="json"))

    @property
    def family(self) -> str:
        """Hash of what the adversary knows and does: cells that share it are trials of one vectorised run.

        Victims and seeds differ between trials. So may the client's training details and post-processing, as long as
        the knowledge level does not grant them: the attack cannot tell. Nor can it tell what is measured beside it
        (`smoothness`).
        """
        content = self.model_dump(mode="json", exclude={"victims", "seed", "smoothness"})
        if self.knowledge_level < 3:
            content["client"] = {key: content["client"][key] for key in ("samples", "bn_mode")}
            content["post_processing"] = "none"
        return digest(content)

    @property
    def checkpoint(self) -> str:
        """Hash of what decides the model's weights: data set of its labels, resolution, model, training and round."""
        return digest(self._weights())

    @property
    def training(self) -> str:
        """Hash of what decides a federated training: as the checkpoint's, without the round."""
        content = self._weights()
        del content["model"]["round"]
        return digest(content)

    @property
    def training_data(self) -> DatasetSpec:
        """The images that the clients of the federated training have: of the data set of the model's labels, whole."""
        return DatasetSpec(name=self.dataset.labels_of, resolution=self.dataset.resolution)

    def _weights(self) -> dict[str, Any]:
        content = self.model_dump(mode="json", include={"dataset": {"resolution"}, "model": True})
        content["dataset"]["name"] = self.dataset.labels_of
        if self.model.training is not None:
            del content["model"]["training"]["rounds"]  # round r is the same however long the training goes on
        return content

    def factors(self) -> dict[str, Scalar]:
        """Every factor as one column: `client_samples`, `attack_descent_iterations`, ..., joined by an underscore.

        `technique` and `strength` say in a figure's words what `post_processing` and its settings say.
        """
        content = self.model_dump(mode="json", exclude={"victims", "post_processing"})
        content |= columns(self.post_processing)
        content |= {"technique": technique(self.post_processing), "strength": strength(self.post_processing)}
        if self.model.training is not None:
            content["model"]["training"] = self.model.training.columns()
        content["dataset"]["classes"] = self.dataset.classes_text
        content["client"]["protocol"] = self.client.protocol
        content["attack"]["level"] = ATTACKS[self.attack.name].level(self.attack)
        return dict(flatten(content))


def flatten(content: dict[str, Any], prefix: str = "") -> list[tuple[str, Scalar]]:
    """Nested content as pairs of column and value; keys are joined by underscores, lists are text."""
    rows: list[tuple[str, Scalar]] = []
    for key, value in content.items():
        if isinstance(value, dict):
            rows += flatten(value, f"{prefix}{key}_")
        elif isinstance(value, list):
            rows.append((prefix + key, ", ".join(str(item) for item in value)))
        else:
            rows.append((prefix + key, value))
    return rows


def digest(content: object) -> str:
    """Hash of JSON-like content: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
