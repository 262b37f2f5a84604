"""Opens data sets: by name, from the configured source, with a choice of classes or labels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gradleak.data.base import DATASETS, DEFAULT_CACHE, DataSource, ImageDataset
from gradleak.data.folder import FolderImages
from gradleak.data.grey import in_channels, one_channel
from gradleak.data.parquet import ParquetImages
from gradleak.data.view import ClassView, GroupedView, LabelSpace, RelabelledView
from gradleak.errors import UserError
from gradleak.specs import DatasetSpec

_SHOWN = 20


def open_dataset(
    name: str, resolution: int, sources: Mapping[str, DataSource], cache: Path = DEFAULT_CACHE
) -> ImageDataset:
    """Open data set `name` with images of `resolution` x `resolution` pixels.

    A registered name brings its classes and normalisation; `sources[name]` may say that its images come from
    elsewhere. A name that is only in `sources` takes its classes from the data and mean = std = 0.5. Opening
    downloads nothing: files of the default source are expected under `cache/name`.

    Raises UserError for an unknown name, a source that cannot serve it, and a path that is missing.
    """
    given = sources.get(name)
    if given is not None and given.filter and given.source != "parquet":
        raise UserError(f"data.{name}.filter: source is '{given.source}', only 'parquet' has columns to filter by")
    if given is not None and given.columns and given.source != "parquet":
        raise UserError(f"data.{name}.columns: source is '{given.source}', only 'parquet' has columns")
    if given is not None and given.splits and given.source not in ("parquet", "folder"):
        raise UserError(f"data.{name}.splits: source is '{given.source}', which has its own; leave it out")
    info = DATASETS[name] if name in DATASETS.names() else None
    if given is None:
        if info is None:
            known = sorted({*DATASETS.names(), *sources})
            raise UserError(f"unknown data set '{name}'; known: {', '.join(known)} (or add it under 'data')")
        return info.native(info, resolution, cache / name)
    if given.source in ("embedded", "torchvision"):
        if info is None or info.source != given.source:
            allowed = "parquet, folder" + (f", {info.source}" if info else "")
            raise UserError(f"data.{name}.source: '{given.source}' has no '{name}'; allowed: {allowed}")
        return info.native(info, resolution, given.path or cache / name)
    if given.path is None:
        raise UserError(f"data.{name}.path: missing; source '{given.source}' needs the path of the data")
    if not given.path.exists():
        raise UserError(f"data.{name}.path: '{given.path}' does not exist")
    if given.source == "folder":
        return FolderImages(name, resolution, given.path, info, given.splits)
    return ParquetImages(name, resolution, given.path, info, given.filter, given.columns, given.splits)


def open_view(
    spec: DatasetSpec, sources: Mapping[str, DataSource], cache: Path = DEFAULT_CACHE, channels: int = 3
) -> ImageDataset:
    """Open the data set of a cell, or a view of its chosen classes and labels, for a model of 3 channels or 1.

    Of a label space only the classes and normalisation are used; a registered one needs no files. Raises UserError as
    `open_dataset` and `chosen_labels` do, and for groups that need more classes than there are.
    """
    view = _of_classes(spec, sources, cache, channels)
    return view if spec.labels is None else GroupedView(view, spec.labels)


def _of_classes(spec: DatasetSpec, sources: Mapping[str, DataSource], cache: Path, channels: int) -> ImageDataset:
    if spec.classes is None:
        return in_channels(open_dataset(spec.name, spec.resolution, sources, cache), channels)
    labels = chosen_labels(spec, sources, cache)
    whole = in_channels(open_dataset(spec.name, spec.resolution, sources, cache), channels)
    if spec.label_space is None:
        return ClassView(whole, labels)
    space = _space(spec.label_space, spec.resolution, sources, cache)
    if channels != 3:
        space = replace(space, mean=one_channel(space.mean), std=one_channel(space.std))
    return RelabelledView(whole, labels, space)


def chosen_labels(spec: DatasetSpec, sources: Mapping[str, DataSource], cache: Path = DEFAULT_CACHE) -> dict[int, int]:
    """The labels of the chosen classes (all where `spec.classes` is None), and the label that each one becomes.

    A name that several classes share chooses all of them. Needs no files of registered data sets. Raises UserError
    for a class that does not exist, naming what does, and for a target in the label space that is not unique.
    """
    own = _space(spec.name, spec.resolution, sources, cache)
    if not isinstance(spec.classes, dict):
        names = own.class_names if spec.classes is None else spec.classes
        return {label: label for name in names for label in _labels_of(name, own)}
    target = _space(spec.labels_of, spec.resolution, sources, cache)
    return {label: _one_label(new, target) for name, new in spec.classes.items() for label in _labels_of(name, own)}


def _space(name: str, resolution: int, sources: Mapping[str, DataSource], cache: Path) -> LabelSpace:
    if name in DATASETS:
        info = DATASETS[name]
        return LabelSpace(name, info.class_names(), info.mean, info.std)
    dataset = open_dataset(name, resolution, sources, cache)
    return LabelSpace(name, dataset.class_names, dataset.mean, dataset.std)


def _labels_of(name: str, space: LabelSpace) -> list[int]:
    labels = [label for label, known in enumerate(space.class_names) if known == name]
    if not labels:
        more = ", ..." if len(space.class_names) > _SHOWN else ""
        raise UserError(
            f"dataset.classes: data set '{space.name}' has no class '{name}'; "
            f"known: {', '.join(space.class_names[:_SHOWN])}{more}"
        )
    return labels


def _one_label(name: str, space: LabelSpace) -> int:
    labels = _labels_of(name, space)
    if len(labels) > 1:
        raise UserError(
            f"dataset.classes: '{name}' names {len(labels)} classes of label space '{space.name}'; "
            "a target must name one"
        )
    return labels[0]
