"""What a federated training is: the settings under `model.training` of a cell."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gradleak.post_processing.chain import Chain, columns


class FederatedSpec(BaseModel):
    """A federated training over rounds; the defaults are those of Figure 7 (Appx. B.II).

    `sampled` clients (None: all) of `clients` take part in a round; the training images are split among all of them
    `iid` or by `dirichlet` proportions of every class, with concentration `alpha` (default 0.5). In a round of `fedavg`
    a client runs `epochs` (default 10) of SGD with mini-batches of `batch_size` images (None: all it has); of `fedsgd`,
    one step on one such mini-batch. `lr` is the rate of a step, `momentum` that of the client's SGD, which starts anew
    each round. `rounds` bounds the rounds that cells may attack. Of the data set's train images, `images` (None: all)
    are used, and `evaluate` (None: all) of its test images for the accuracy. `precision` `mixed` computes in bfloat16
    where that is safe; weights stay float32. With `victim_images`, client 0 has so many images and the others share
    the rest (Appx. B.III). `post_processing` is done by every client in every round.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    victim_images: int | None = Field(None, ge=1, exclude_if=lambda value: value is None)
    post_processing: Chain = Field((), exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sampled = self.clients if self.sampled is None else self.sampled
        if sampled > self.clients:
            raise ValueError(f"sampled is {sampled}, but there are only {self.clients} clients")
        if self.images is not None and self.images < self.clients:
            raise ValueError(f"images is {self.images}, but each of the {self.clients} clients needs one")
        if self.victim_images is not None and self.clients == 1:
            raise ValueError(f"victim_images is {self.victim_images}, but clients is 1; there must be others")
        if self.victim_images is not None and self.images is not None:
            left = self.images - self.victim_images
            if left < self.clients - 1:
                raise ValueError(
                    f"victim_images is {self.victim_images} of {self.images} images: too few for the others"
                )
        if self.split == "iid" and self.alpha is not None:
            raise ValueError(f"alpha is {self.alpha}, but split is 'iid'; leave it out, or set split to 'dirichlet'")
        if self.protocol == "fedsgd" and self.epochs not in (None, 1):
            raise ValueError(f"epochs is {self.epochs}, but a client of 'fedsgd' takes one step a round; leave it out")
        if self.protocol == "fedsgd" and self.momentum:
            raise ValueError(f"momentum is {self.momentum}, but a client of 'fedsgd' takes one step a round; must be 0")
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
