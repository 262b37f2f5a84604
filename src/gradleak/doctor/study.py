"""What the study of config.yaml needs: its data sets, the LPIPS weights, and a folder that no run has locked."""

from gradleak.doctor.base import Finding, Place


def data(place: Place) -> Finding:
    """Whether the images of every data set of the study can be opened."""
    from gradleak.data.opening import open_dataset
    from gradleak.study.expand import load_study, study_path

    config = place.config
    study = load_study(study_path(config.study))
    names = sorted(set().union(*(cell.datasets for cell in study.cells())))
    sizes = {}
    for name in names:
        dataset = open_dataset(name, 32, config.data, place.folder / config.cache)
        sizes[name] = dataset.size("test")
        dataset.images("test", [0])
    return Finding(f"study {config.study}: " + ", ".join(f"{name} ({size} victims)" for name, size in sizes.items()))


def lpips(place: Place) -> Finding:
    """Whether the weights behind LPIPS are in the cache and are the right ones."""
    from gradleak.metrics.backbone import load_backbone

    load_backbone(place.folder / place.config.cache)
    return Finding("weights are there, checksum is right")


def lock(place: Place) -> Finding:
    """Whether a run of Snakemake goes on in this folder, or one that was killed left its lock."""
    locks = place.folder / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        return Finding(
            "locked", "lock: Snakemake's lock is on this folder; if no run goes on here, release it with `make unlock`"
        )
    return Finding("none")
