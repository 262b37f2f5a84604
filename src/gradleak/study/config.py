"""config.yaml: what a user edits. Validated; an unknown key is an error."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gradleak.data.base import DEFAULT_CACHE, DataSource
from gradleak.documents import read_yaml
from gradleak.frozen import Frozen, wrong
from gradleak.names import STUDIES_RESERVED, check_name, check_names

Precision = Literal["float32", "tf32", "bf16"]


class JobConfig(Frozen):
    """How the attack stage is cut into jobs and saved.

    `minutes`: about how long a job is. `device`: where that is, if the device is `auto`. None: as the study says.
    """

    model_config = ConfigDict(allow_inf_nan=True)  # minutes: .inf, as few jobs as there can be

    minutes: float | None = Field(None, gt=0)
    device: Literal["cpu", "cuda"] | None = Field(None, exclude_if=lambda value: value is None)
    save_every_s: float = Field(60.0, ge=0)


def _listed(value: object) -> object:
    """One folder as a list, as `--config reuse=results/reference` gives it."""
    return [value] if isinstance(value, str | Path) else value


class Config(Frozen):
    """One user's settings: the study, where data lies, the device, how jobs are cut, and which archives are reused.

    `threads` is the number of CPU threads of one job; results may differ in the last bit between thread counts.
    `precision` is that of matrix products and convolutions (`engine.device.prepare_device`). `run` names the run's
    folders of results and figures; None: as the study. `minutes`: for how long one device, or one CPU core of
    `threads` threads, computes at most; what is chosen for that decides most (`study.choosing`). None: the whole study.
    """

    study: str = "quick"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1)
    precision: Precision = "float32"
    cache: Path = DEFAULT_CACHE
    data: dict[str, DataSource] = Field({})
    jobs: JobConfig = JobConfig()
    # These three are left out of plan.json where they are not set: other plans are what they were before they existed.
    reuse: Annotated[tuple[Path, ...], BeforeValidator(_listed)] = Field((), exclude_if=lambda value: not value)
    run: str | None = Field(None, exclude_if=lambda value: value is None)
    minutes: float | None = Field(None, ge=0, exclude_if=lambda value: value is None)

    @model_validator(mode="before")
    @classmethod
    def _replaced(cls, content: Any) -> Any:
        if isinstance(content, dict) and "tf32" in content:
            raise wrong("tf32", "unknown key; write precision: tf32 for true, precision: float32 for false")
        return content

    @field_validator("run")
    @classmethod
    def _run(cls, run: str | None) -> str | None:
        return None if run is None else check_name(run, "run", STUDIES_RESERVED)

    @field_validator("data")
    @classmethod
    def _names(cls, data: dict[str, DataSource]) -> dict[str, DataSource]:
        check_names(data, "data set")
        return data

    @property
    def estimated_device(self) -> str:
        """The device that costs are estimated for: the CPU where neither settings nor study name one."""
        return (self.jobs.device or "cpu") if self.device == "auto" else self.device

    @property
    def numerics(self) -> dict[str, Any]:
        """The settings that decide the bits of what is computed, as each job's record states them."""
        return {"device": self.device, "threads": self.threads, "precision": self.precision}


def load_config(path: Path) -> Config:
    """Read and validate a config file. Raises UserError naming the file, the key and what is allowed."""
    return Config.parse(read_yaml(path), str(path))
