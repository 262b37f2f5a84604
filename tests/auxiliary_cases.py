"""Small data sets, generators and interruptions: what tests of auxiliary models and of attacks with them share."""

import torch

from gradleak.auxiliary.base import TrainContext, parse_auxiliary
from gradleak.data.base import ImageDataset
from gradleak.files import sha256

SIZE = 16


class Pictures(ImageDataset):
    """Given images (n, 3, 16, 16) and labels, the same ones in both splits."""

    def __init__(self, images, labels, classes=2):
        super().__init__("photos10", SIZE, (0.5,) * 3, (0.5,) * 3)
        self.pictures, self.answers, self._count = images, labels, classes

    @property
    def class_names(self):
        return tuple(f"c{label}" for label in range(self._count))

    def _size(self, split):
        return len(self.pictures)

    def _images(self, split, indices):
        return list(self.pictures[indices])

    def _labels(self, split, indices):
        return [self.answers[index] for index in indices]

    def fingerprint(self):
        return "0" * 64


COLOURS = torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.3, 0.9]])


def plain(count=60, noise=0.02, in_order=False, seed=0):
    """Two classes of one colour each, red and blue, with a little noise."""
    labels = [2 * i // count if in_order else i % 2 for i in range(count)]
    random = torch.Generator().manual_seed(seed)
    images = COLOURS[labels][:, :, None, None] + noise * torch.randn(count, 3, SIZE, SIZE, generator=random)
    return Pictures(images.clamp(0, 1), labels)


def blocks(count=60, seed=0):
    """Blocks of two levels with sharp edges: something that an autoencoder or an enhancement can learn."""
    random = torch.Generator().manual_seed(seed)
    coarse = 0.2 + 0.6 * (torch.rand(count, 3, 4, 4, generator=random) > 0.5)
    images = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="nearest")
    return Pictures(images, [i % 2 for i in range(count)])


class Killed(Exception):
    pass


def killing(after):
    """A progress callback that raises once that many steps were counted."""
    left = after

    def count(steps):
        nonlocal left
        left -= steps
        if left <= 0:
            raise Killed

    return count


def kept(folder, progress=None):
    """A context that saves its state after every step."""
    return TrainContext(state=folder / "training.safetensors", save_every_s=0, progress=progress)


def same_weights(one, other):
    """Whether two modules have equal bits in every parameter and buffer."""
    mine, its = one.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in mine)


def small_architecture(classes):
    """BigGAN-deep for 16 x 16 pixels, with all its parts."""
    return {
        "output_dim": SIZE,
        "z_dim": 8,
        "class_embed_dim": 8,
        "channel_width": 4,
        "num_classes": classes,
        "layers": [[True, 16, 8], [False, 8, 4], [True, 4, 2], [False, 2, 1]],
        "attention_layer_position": 2,
        "n_stats": 5,
    }


def biggan_network(classes):
    """The package's network with every part random: attention at work, statistics of each truncation different."""
    from pytorch_pretrained_biggan import BigGAN, BigGANConfig

    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = BigGAN(BigGANConfig(**small_architecture(classes))).eval()
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if "running" in name or "gamma" in name or name.startswith("generator.bn."):
                value.data = 0.5 + torch.rand(value.shape)
        network.train()
        for _ in range(5):  # every pass is a step of the power iterations behind the normalisation of weights
            network(torch.randn(2, 8), torch.eye(classes)[:2], 1.0)
    return network.eval()


def biggan_config(path, dataset, classes, **settings):
    """The configuration that names a file of weights and its checksum."""
    architecture = small_architecture(classes)
    given = {"dataset": dataset, "weights": str(path), "sha256": sha256(path), "architecture": architecture}
    return parse_auxiliary({"name": "biggan", **given, **settings})


def biggan_file(folder, classes):
    """A file of random weights, as the package saves them."""
    path = folder / "pytorch_model.bin"
    torch.save(biggan_network(classes).state_dict(), path)
    return path
