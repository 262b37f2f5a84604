"""CIFAR-10, CIFAR-100 and ImageNet-1k from the files that torchvision downloads or prepares."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from PIL import Image
from torch import Tensor

from gradleak.compat import prepare_torchvision
from gradleak.data.base import DATASETS, DatasetInfo, ImageDataset, Split
from gradleak.data.decode import square
from gradleak.data.folder import FolderImages
from gradleak.errors import UserError

_CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""


class CifarImages(ImageDataset):
    """CIFAR images from a torchvision root. Only `fetch` downloads them, never opening or reading."""

    def __init__(self, info: DatasetInfo, resolution: int, root: Path) -> None:
        super().__init__(info.name, resolution, info.mean, info.std)
        self._info = info
        self._root = root
        self._loaded: dict[Split, Any] = {}

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The class names, in the order of the labels."""
        return self._info.class_names()

    def fetch(self) -> None:
        """Download the archive (about 170 MB) to the root unless it is there, and check its files."""
        for train in (True, False):
            self._open(train, download=True)

    def _open(self, train: bool, download: bool) -> Any:
        prepare_torchvision()
        from torchvision import datasets

        kind = datasets.CIFAR10 if self.name == "cifar10" else datasets.CIFAR100
        try:
            return kind(self._root, train=train, download=download)
        except (RuntimeError, OSError) as error:
            if download:
                raise UserError(f"cannot download {self.name} to '{self._root}' ({error})") from None
            raise UserError(
                f"{self.name}: no complete copy under '{self._root}'; download it with `gradleak data fetch "
                f"{self.name}`, or name another source under data.{self.name}"
            ) from None

    def _split(self, split: Split) -> Any:
        if split not in self._loaded:
            self._loaded[split] = self._open(split == "train", download=False)
        return self._loaded[split]

    def _size(self, split: Split) -> int:
        return len(self._split(split).data)

    def _images(self, split: Split, indices: list[int]) -> list[Tensor]:
        data = self._split(split).data
        return [square(Image.fromarray(data[index]), self.resolution) for index in indices]

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        targets = self._split(split).targets
        return [int(targets[index]) for index in indices]

    def fingerprint(self) -> str:
        """SHA-256 over the pixels and labels of both splits."""
        digest = hashlib.sha256()
        for split in get_args(Split):
            loaded = self._split(split)
            digest.update(loaded.data.tobytes())
            digest.update(bytes(loaded.targets))
        return digest.hexdigest()


class ImageNetImages(FolderImages):
    """ImageNet-1k from a root as `torchvision.datasets.ImageNet` lays it out: `train` and `val` by class.

    `val` is the test split. The folders are read directly: sorted by WordNet id they are in the usual class
    order, and torchvision's class would start to unpack 140 GB where a folder is missing.
    """

    def __init__(self, info: DatasetInfo, resolution: int, root: Path) -> None:
        if not (root / "val").is_dir():
            raise UserError(
                f"imagenet1k: no folder '{root / 'val'}'; no program can download it: prepare it "
                "with torchvision.datasets.ImageNet, or set data.imagenet1k to a parquet or folder source"
            )
        super().__init__(info.name, resolution, root, info)


def _imagenet_classes() -> tuple[str, ...]:
    prepare_torchvision()
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


DATASETS.register("cifar10")(
    DatasetInfo(
        name="cifar10",
        num_classes=10,
        class_names=lambda: _CIFAR10_CLASSES,
        resolution=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        source="torchvision",
        native=CifarImages,
    )
)
DATASETS.register("cifar100")(
    DatasetInfo(
        name="cifar100",
        num_classes=100,
        class_names=lambda: tuple(_CIFAR100_CLASSES.split()),
        resolution=32,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        source="torchvision",
        native=CifarImages,
    )
)
DATASETS.register("imagenet1k")(
    DatasetInfo(
        name="imagenet1k",
        num_classes=1000,
        class_names=_imagenet_classes,
        resolution=224,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        source="torchvision",
        native=ImageNetImages,
    )
)
