"""VGG-11, -16 and -19 (Simonyan and Zisserman 2015) for small images, with batch normalisation unless switched off.

The convolutional part is torchvision's. Two things differ from torchvision's networks: the classifier is one linear
layer on the averaged last feature map (a single position for a 32x32 image) in place of three with dropout, and the
weights keep PyTorch's default initialisation. The paper says VGG only. Batch normalisation is on here because that
initialisation makes every convolution with ReLU shrink the signal to about 0.4 of its size, and only the statistics of
the mini-batches undo that in training. Before training, in evaluation mode, it is the identity in any model.
"""

from functools import partial

from torch import Tensor, nn

from gradleak.compat import prepare_torchvision
from gradleak.models.base import MODELS, scaled
from gradleak.models.stems import check_size


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ended by max-pooling, global average pooling, one linear layer."""

    def __init__(self, plan: str, num_classes: int, resolution: int, width: float, norm: bool = True) -> None:
        super().__init__()
        prepare_torchvision()
        from torchvision.models import vgg

        check_size("vgg", resolution, 32)
        sizes = [entry if entry == "M" else scaled(entry, width) for entry in vgg.cfgs[plan]]
        self.features = vgg.make_layers(sizes, batch_norm=norm)
        self.fc = nn.Linear(sizes[-2], num_classes)
        self.parts: dict[str, list[str]] = {f"stage{i}": [] for i in range(1, sizes.count("M") + 1)}
        stage = 1
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool2d):
                stage += 1
            elif not isinstance(layer, nn.ReLU):
                self.parts[f"stage{stage}"].append(f"features.{index}")
        self.parts["head"] = ["fc"]

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W), 32 pixels or more, to logits (n, classes)."""
        return self.fc(self.features(images).mean(dim=(2, 3)))


MODELS.register("vgg11")(partial(VGG, "A"))
MODELS.register("vgg16")(partial(VGG, "D"))
MODELS.register("vgg19")(partial(VGG, "E"))
