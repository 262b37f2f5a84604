"""What must hold before cells are computed again: the same pixels; and whether equal bits can be expected."""

from importlib.metadata import version
from pathlib import Path

from gradleak.archive.read import Archive, Run
from gradleak.archive.victims import check_victims
from gradleak.cell import DatasetSpec
from gradleak.config import Config
from gradleak.data.base import ImageDataset
from gradleak.data.view import open_view
from gradleak.engine.device import device_facts
from gradleak.errors import UserError


def check_data(archive: Archive, run: Run, config: Config, config_path: Path) -> list[str]:
    """Check the victims of a run; returns how the data behind its trained models differ from the archived run's.

    Raises UserError for a data set that is not there, naming the config and the checksum, and for a victim with other
    pixels.
    """
    for cell in run.cells:
        check_victims(cell, _open(archive, cell.dataset, config, config_path), archive.provenance.victims)
    learned = [auxiliary.dataset for cell in run.cells for auxiliary in cell.attack.auxiliaries()]
    learned += [cell.training_data for cell in run.cells if cell.model.round]
    differences = []
    for spec in {
        spec.name: spec.model_copy(update={"classes": None, "label_space": None}) for spec in learned
    }.values():
        found = _open(archive, spec, config, config_path).fingerprint()
        if found != archive.provenance.data[spec.name].fingerprint:
            differences.append(f"data set '{spec.name}', which models are trained on, has another checksum")
    return differences


def _open(archive: Archive, spec: DatasetSpec, config: Config, config_path: Path) -> ImageDataset:
    try:
        dataset = open_view(spec, config.data, config.cache)
        dataset.size("test")
    except UserError as error:
        known = archive.provenance.data[spec.name]
        raise UserError(
            f"data set '{spec.name}' is needed and not there ({error}); say under the key 'data' of {config_path} "
            f"where it lies; the archived run had {known.test} test images from source '{known.source}', "
            f"SHA-256 {known.fingerprint}"
        ) from None
    return dataset


def differences(archive: Archive, run: Run, config: Config, device: str) -> list[str]:
    """What of device, CPU, torch and settings differs from where a run was computed; none: equal bits are expected."""
    here = {**device_facts(device), "torch": version("torch"), "tf32": config.tf32}
    found = []
    for place in archive.environments(run):
        there = {
            "device": place.device,
            "cpu": place.cpu,
            "torch": place.versions["torch"],
            "tf32": archive.provenance.tf32,
        }
        found += [f"{name}: here {here[name]}, there {there[name]}" for name in here if here[name] != there[name]]
    return list(dict.fromkeys(found))
