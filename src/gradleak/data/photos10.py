"""photos10: the embedded data set, crops of ten photographs that ship in scikit-image and scikit-learn."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from gradleak.data.base import DATASETS, DatasetInfo, ImageDataset, Split
from gradleak.data.decode import square
from gradleak.errors import UserError

Axis = Literal["x", "y"]


@dataclass(frozen=True)
class Photo:
    """One photograph: the file in an installed package, and where it is cut into a train and a test region.

    The cut is a line across `axis` at `cut` of the photograph's extent. The smaller part is for the test
    crops. Each cut was placed so that both parts show some of the subject.
    """

    package: str
    file: str
    axis: Axis
    cut: float


PHOTOS = {
    "astronaut": Photo("skimage", "data/astronaut.png", "y", 0.60),
    "chelsea": Photo("skimage", "data/chelsea.png", "x", 0.42),
    "coffee": Photo("skimage", "data/coffee.png", "x", 0.40),
    "rocket": Photo("skimage", "data/rocket.jpg", "x", 0.40),
    "retina": Photo("skimage", "data/retina.jpg", "y", 0.60),
    "ihc": Photo("skimage", "data/ihc.png", "x", 0.40),
    "hubble_deep_field": Photo("skimage", "data/hubble_deep_field.jpg", "x", 0.60),
    "motorcycle_left": Photo("skimage", "data/motorcycle_left.png", "x", 0.45),
    "china": Photo("sklearn", "datasets/images/china.jpg", "x", 0.36),
    "flower": Photo("sklearn", "datasets/images/flower.jpg", "x", 0.46),
}
CROPS: dict[Split, int] = {"train": 200, "test": 50}
SMALLEST_SIDE = 96
LARGEST_SIDE = 512
FLAT = 24.0
ATTEMPTS = 100
SEED = 20_240_511


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels of a photograph: columns left <= x < right, rows top <= y < bottom."""

    left: int
    top: int
    right: int
    bottom: int


class Photos10(ImageDataset):
    """2,000 train and 500 test crops. The label says which of the ten photographs a crop comes from.

    Image i has label i % 10, so any ten consecutive images have distinct labels. Each photograph is cut in
    two by a line (see `Photo`): train crops lie on one side, test crops on the other, so no pixel is in both.
    Crops are squares of 96 to 512 pixels (log-uniform, as far as the region allows), fixed once and for all,
    and chosen not to be flat: boxes are drawn until the standard deviation of the grey values reaches 24 of
    255.
    """

    def __init__(self, info: DatasetInfo, resolution: int, root: Path) -> None:
        super().__init__(info.name, resolution, info.mean, info.std)
        self._photos: dict[int, Image.Image] = {}
        self._boxes: dict[tuple[Split, int], list[Box]] = {}

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the ten photographs."""
        return tuple(PHOTOS)

    def region(self, split: Split, label: int) -> Box:
        """The part of photograph `label` that crops of `split` are taken from, in pixels."""
        photo = list(PHOTOS.values())[label]
        width, height = self._photo(label).size
        first = (split == "test") == (photo.cut < 0.5)
        if photo.axis == "x":
            cut = round(photo.cut * width)
            return Box(0, 0, cut, height) if first else Box(cut, 0, width, height)
        cut = round(photo.cut * height)
        return Box(0, 0, width, cut) if first else Box(0, cut, width, height)

    def box(self, split: Split, index: int) -> Box:
        """The crop of image `index` of `split`, in pixels of its photograph."""
        label = index % len(PHOTOS)
        if (split, label) not in self._boxes:
            self._boxes[split, label] = self._draw(split, label)
        return self._boxes[split, label][index // len(PHOTOS)]

    def _draw(self, split: Split, label: int) -> list[Box]:
        region = self.region(split, label)
        grey = np.asarray(self._photo(label).convert("L"), dtype=np.float32)
        generator = np.random.default_rng([SEED, label, int(split == "test")])
        largest = min(region.right - region.left, region.bottom - region.top, LARGEST_SIDE)
        smallest = min(SMALLEST_SIDE, largest)
        boxes = []
        for _ in range(CROPS[split]):
            best, contrast = region, -1.0
            for _ in range(ATTEMPTS):
                scale, across, down = generator.random(3)
                side = min(largest, round(smallest * (largest / smallest) ** scale))
                left = region.left + int(across * (region.right - region.left - side + 1))
                top = region.top + int(down * (region.bottom - region.top - side + 1))
                # Every third pixel tells a flat crop from one with content.
                found = float(grey[top : top + side : 3, left : left + side : 3].std())
                if found > contrast:
                    best, contrast = Box(left, top, left + side, top + side), found
                if contrast >= FLAT:
                    break
            boxes.append(best)
        return boxes

    def _photo(self, label: int) -> Image.Image:
        if label not in self._photos:
            with Image.open(_file(label)) as image:
                self._photos[label] = image.convert("RGB")
        return self._photos[label]

    def _size(self, split: Split) -> int:
        return CROPS[split] * len(PHOTOS)

    def _images(self, split: Split, indices: list[int]) -> list[Tensor]:
        crops = []
        for index in indices:
            box = self.box(split, index)
            # Cropped before it is resized, so that the filter sees no pixel outside the box.
            crop = self._photo(index % len(PHOTOS)).crop((box.left, box.top, box.right, box.bottom))
            crops.append(square(crop, self.resolution))
        return crops

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        return [index % len(PHOTOS) for index in indices]

    def fingerprint(self) -> str:
        """SHA-256 over the ten files and all crop boxes."""
        digest = hashlib.sha256()
        for label in range(len(PHOTOS)):
            digest.update(hashlib.sha256(_file(label).read_bytes()).digest())
        for split in CROPS:
            for index in range(self.size(split)):
                digest.update(f"{split} {index} {self.box(split, index)}\n".encode())
        return digest.hexdigest()


def _file(label: int) -> Path:
    photo = list(PHOTOS.values())[label]
    # Found without importing it: scikit-learn alone takes as long to import as all that a short job does.
    found = find_spec(photo.package)
    folders = (found and found.submodule_search_locations) or [""]
    path = Path(folders[0]) / photo.file
    if not path.is_file():
        raise UserError(f"photos10: the installed {photo.package} lacks '{photo.file}'; reinstall it from its wheel")
    return path


DATASETS.register("photos10")(
    DatasetInfo(
        name="photos10",
        num_classes=len(PHOTOS),
        class_names=lambda: tuple(PHOTOS),
        resolution=32,
        mean=(0.492, 0.393, 0.346),
        std=(0.315, 0.262, 0.264),
        source="embedded",
        native=Photos10,
    )
)
