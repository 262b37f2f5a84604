"""The cell: one frozen, validated description of an experiment, and the unit of work.

A cell's id is a hash of its content. Cells that look alike to the adversary but for the update belong to one *family*:
they are trials that run vectorised together.
"""

from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from gradleak.attacks.base import ATTACKS, Attack
from gradleak.frozen import Frozen, Scalar, digest, flatten
from gradleak.post_processing.chain import Chain, columns, strength, technique
from gradleak.smoothness.spec import SmoothnessSpec
from gradleak.specs import ClientSpec, DatasetSpec, ModelSpec


def _parse_attack(value: object) -> object:
    if isinstance(value, Attack):
        return value
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError("attack needs a 'name'; known: " + ", ".join(ATTACKS.names()))
    return ATTACKS[str(value["name"])].model_validate(value)


#: The type of a configuration's key: reads the settings of any registered attack, which `name` names.
AnyAttack = Annotated[SerializeAsAny[Attack], BeforeValidator(_parse_attack)]


class Cell(Frozen):
    """One experiment. Everything that decides the result is in here; nothing else is.

    `post_processing` is what the client does to its update: a chain of defenses (Sec. 6), `none` where it is empty.
    `knowledge_level` (Sec. 2.2) is what the study grants the adversary; an attack that needs more is refused.
    `smoothness` asks for IGSA (Eq. 10) of the model at the victims' images. The attack knows nothing of it.
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
        if self.attack.level > self.knowledge_level:
            raise ValueError(
                f"attack '{self.attack.name}' as configured needs knowledge level {self.attack.level}, "
                f"but knowledge_level grants {self.knowledge_level}"
            )
        if self.model.channels != 3 and self.attack.auxiliaries():
            raise ValueError(
                f"attack '{self.attack.name}' as configured has a network of colour images, "
                f"but model.channels is {self.model.channels}; must be 3"
            )
        return self

    @cached_property
    def id(self) -> str:
        """Hash of the whole content (16 hexadecimal digits)."""
        return digest(self.model_dump(mode="json"))

    @cached_property
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

    @cached_property
    def setting(self) -> str:
        """Hash of all but victims and seed: cells that share it are trials of one setting."""
        return digest(self.model_dump(mode="json", exclude={"victims", "seed"}))

    @cached_property
    def checkpoint(self) -> str:
        """Hash of what decides the model's weights: data set of its labels, resolution, model, training and round."""
        return digest(self._weights())

    @cached_property
    def training(self) -> str:
        """Hash of what decides a federated training: as the checkpoint's, without the round."""
        content = self._weights()
        del content["model"]["round"]
        return digest(content)

    @property
    def training_data(self) -> DatasetSpec:
        """The images that the clients of the federated training have: of the data set of the model's labels, whole."""
        return DatasetSpec(name=self.dataset.labels_of, resolution=self.dataset.resolution)

    @property
    def datasets(self) -> set[str]:
        """Names of the data sets of its victims and labels, and of what its auxiliary models learn from."""
        specs = [self.dataset, *(auxiliary.dataset for auxiliary in self.attack.auxiliaries())]
        return {name for spec in specs for name in (spec.name, spec.labels_of)}

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
        content["attack"]["level"] = self.attack.level
        return dict(flatten(content))
