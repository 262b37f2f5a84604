"""The parts of a cell that do not depend on an attack: data set, model, federated training and client."""

from math import ceil
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gradleak.frozen import Frozen, Scalar
from gradleak.post_processing.chain import Chain, columns

# Left out of the content at their defaults: ids of clients of plain SGD do not depend on them.
Optimizer = Annotated[Literal["sgd", "adam"], Field(exclude_if=lambda value: value == "sgd")]
WeightDecay = Annotated[float, Field(ge=0, exclude_if=lambda value: not value)]


def _check_optimizer(optimizer: str, momentum: float) -> None:
    if optimizer == "adam" and momentum:
        raise ValueError(f"momentum is {momentum}, but optimizer is 'adam', which has its own; must be 0")


class FederatedSpec(Frozen):
    """A federated training over rounds. The defaults are those of Figure 7 (Appx. B.II).

    `sampled` clients (None: all) of `clients` take part in a round. The training images are split among all of them
    `iid` or by `dirichlet` proportions of every class, with concentration `alpha` (default 0.5). In a round of `fedavg`
    a client runs `epochs` (default 10) with mini-batches of `batch_size` images (None: all it has); of `fedsgd`, one
    step on one such mini-batch. `lr` is the rate of a step. `optimizer`, `momentum` and `weight_decay` are those of the
    client of `fedavg`, as in `ClientSpec`; what the optimizer remembers starts anew each round. `rounds` bounds the
    rounds that cells may attack. Of the data set's train images, `images` (None: all) are used, and `evaluate` (None:
    all) of its test images for the accuracy. `precision` `mixed` computes in bfloat16 where that is safe. Weights stay
    float32. With `victim_images`, client 0 has so many images and the others share the rest (Appx. B.III).
    `post_processing` is done by every client in every round.
    """

    clients: int = Field(5, ge=1)
    sampled: int | None = Field(None, ge=1)
    rounds: int = Field(100, ge=1)
    split: Literal["iid", "dirichlet"] = "iid"
    alpha: float | None = Field(None, ge=1e-3)
    protocol: Literal["fedavg", "fedsgd"] = "fedavg"
    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(128, ge=1)
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    images: int | None = Field(None, ge=1)
    evaluate: int | None = Field(None, ge=1)
    augment: Literal["none", "flip"] = "none"
    seed: int = Field(0, ge=0)
    precision: Literal["float32", "mixed"] = "float32"
    # Left out of the content where there are none: ids of other trainings do not depend on them.
    optimizer: Optimizer = "sgd"
    weight_decay: WeightDecay = 0.0
    victim_images: int | None = Field(None, ge=1, exclude_if=lambda value: value is None)
    post_processing: Chain = Field((), exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sampled = self.clients if self.sampled is None else self.sampled
        if sampled > self.clients:
            raise ValueError(f"sampled is {sampled}, but there are only {self.clients} clients")
        if self.images is not None and self.images < self.clients:
            raise ValueError(f"images is {self.images}, but each of the {self.clients} clients needs one")
        victims = self.victim_images
        if victims is not None and self.clients == 1:
            raise ValueError(f"victim_images is {victims}, but clients is 1; there must be others")
        if victims is not None and self.images is not None and self.images - victims < self.clients - 1:
            raise ValueError(f"victim_images is {victims} of {self.images} images: too few for the others")
        if self.split == "iid" and self.alpha is not None:
            raise ValueError(f"alpha is {self.alpha}, but split is 'iid'; leave it out, or set split to 'dirichlet'")
        if self.protocol == "fedsgd" and self.epochs not in (None, 1):
            raise ValueError(f"epochs is {self.epochs}, but a client of 'fedsgd' takes one step a round; leave it out")
        for key, default in (("momentum", 0), ("weight_decay", 0), ("optimizer", "sgd")):
            value = getattr(self, key)
            if self.protocol == "fedsgd" and value != default:
                one_step = f"a client of 'fedsgd' takes one step a round; must be {default!r}"
                raise ValueError(f"{key} is {value!r}, but {one_step}")
        _check_optimizer(self.optimizer, self.momentum)
        # What is left out gets its default here, so that equal trainings have equal ids however they were written.
        object.__setattr__(self, "sampled", sampled)
        if self.split == "dirichlet" and self.alpha is None:
            object.__setattr__(self, "alpha", 0.5)
        if self.epochs is None:
            object.__setattr__(self, "epochs", 10 if self.protocol == "fedavg" else 1)
        return self

    def columns(self) -> dict[str, Any]:
        """Every setting, nested, for `flatten`."""
        return self.model_dump(mode="json", exclude={"post_processing"}) | columns(self.post_processing)

    @property
    def participants(self) -> int:
        """Clients per round."""
        assert self.sampled is not None
        return self.sampled

    @property
    def local_epochs(self) -> int:
        """Passes of a client over its images in a round of FedAvg."""
        assert self.epochs is not None
        return self.epochs

    def passes(self, images: int) -> float:
        """About how many images all clients together compute gradients of in a round, of `images` in all."""
        if self.protocol == "fedavg":
            return images * self.participants / self.clients * self.local_epochs
        share = images / self.clients
        return self.participants * (share if self.batch_size is None else min(share, self.batch_size))

    def steps(self, images: int) -> int:
        """About how many mini-batches all clients together compute gradients of in a round, of `images` in all."""
        per_epoch = 1
        if self.protocol == "fedavg" and self.batch_size is not None:
            per_epoch = ceil(images / self.clients / self.batch_size)
        return self.participants * self.local_epochs * per_epoch


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


class LabelGroups(Frozen):
    """Images in groups of `every`, of which `alike` have one class and all others different ones.

    `alike` 1: all labels of a group differ. With as many images as `every`, a client has one group.
    """

    every: int = Field(ge=2)
    alike: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.alike > self.every:
            raise ValueError(f"alike is {self.alike}, but a group has only {self.every} images (every)")
        return self

    @property
    def classes(self) -> int:
        """How many classes a group has."""
        return self.every - self.alike + 1


class DatasetSpec(Frozen):
    """Which images: a data set at a resolution (height = width in pixels), whole or some of its classes.

    `classes` lists the names of the classes to use. The model still tells all classes of the data set apart. With
    `label_space`, the name of another data set, the model is one for that data set's classes and normalisation, and
    `classes` maps own class names to class names there. Both are kept sorted: their order means nothing.

    `labels` groups the images of victims by their labels, which are those that the model has.
    """

    name: str
    resolution: int = Field(32, ge=8, le=512)
    classes: Annotated[tuple[str, ...] | dict[str, str] | None, BeforeValidator(_parse_classes)] = None
    label_space: str | None = None
    # Left out of the content where there are none: ids of other data sets do not depend on them.
    labels: LabelGroups | None = Field(None, exclude_if=lambda value: value is None)

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
        """The chosen classes as text: `a, b`, or `a -> x, b -> y` for a mapping. None where all are used."""
        if self.classes is None:
            return None
        if isinstance(self.classes, dict):
            return ", ".join(f"{own} -> {target}" for own, target in self.classes.items())
        return ", ".join(self.classes)

    @property
    def selection_text(self) -> str:
        """Which images are left, for behind `images`: ` of its chosen classes (a, b), in groups of ...`, or nothing."""
        chosen = "" if self.classes is None else f" of its chosen classes ({self.classes_text})"
        if self.labels is None:
            return chosen
        alike = f"{self.labels.alike} of one class" if self.labels.alike > 1 else "all of different classes"
        return f"{chosen} in groups of {self.labels.every}, {alike}"


class ModelSpec(Frozen):
    """Which model: a registered architecture, its variant, and the checkpoint's federated round.

    Round 0 is PyTorch's default initialisation; a later one needs the `training` that it is a round of. At round 0 a
    given training is dropped, so that a study may vary the round from 0 on. `options` are keyword arguments of the
    architecture. A model of one of `channels` takes the images' luminance.
    """

    name: str = "resnet18"
    width: float = Field(1.0, gt=0, le=4)
    round: int = Field(0, ge=0)
    init_seed: int = Field(0, ge=0)
    options: dict[str, Scalar] = Field({})
    # Left out of the content where it is 3: ids of models of colour images do not depend on it.
    channels: Literal[1, 3] = Field(3, exclude_if=lambda value: value == 3)
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

    With `shuffle` mini-batches are drawn anew each epoch. `optimizer` is `sgd`, with `momentum` (0 to below 1), or
    `adam`, of PyTorch's defaults (betas 0.9 and 0.999, eps 1e-8). `weight_decay` (from 0) is L2 added to the gradient.
    These four have no effect where U is 1: the client then shares its gradient (FedSGD).
    """

    samples: int = Field(1, ge=1)
    batch_size: int | None = Field(None, ge=1)
    epochs: int = Field(1, ge=1)
    steps: int | None = Field(None, ge=1)
    lr: float = Field(0.01, gt=0)
    bn_mode: Literal["eval", "train"] = "eval"
    # Left out of the content at its default, and so are those below: ids of other clients do not depend on them.
    shuffle: bool = Field(False, exclude_if=lambda value: not value)
    optimizer: Optimizer = "sgd"
    momentum: float = Field(0.0, ge=0, lt=1, exclude_if=lambda value: not value)
    weight_decay: WeightDecay = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        size = self.samples if self.batch_size is None else self.batch_size
        if size > self.samples:
            raise ValueError(f"batch_size B is {size}, but the client has only N={self.samples} samples")
        steps = self.epochs * -(-self.samples // size)
        if self.steps is not None and self.steps != steps:
            raise ValueError(f"steps U is {self.steps}, but N={self.samples}, B={size}, E={self.epochs} give U={steps}")
        _check_optimizer(self.optimizer, self.momentum)
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
