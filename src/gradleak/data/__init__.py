"""Data sets: where the images of clients, training and generators come from."""

from gradleak.data.base import DATASETS, DatasetInfo, DataSource, ImageDataset, Split
from gradleak.data.opening import open_dataset

__all__ = ["DATASETS", "DataSource", "DatasetInfo", "ImageDataset", "Split", "open_dataset"]
