"""A user's model file and a small audit of it."""

from typing import Any

MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes: int = 10, channels: int = 3, kind: str = "plain"):
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(channels, 6, 5, stride=2, padding=2)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6 * 64, classes)

    def forward(self, x):
        x = torch.sigmoid(self.norm(self.conv(x)))
        x = torch.sigmoid(self.again(x))
        if self.kind == "twice":
            x = torch.sigmoid(self.again(x))
        x = self.fc(self.drop(x).flatten(1))
        if self.kind == "random":
            x = torch.nn.functional.dropout(x, 0.5)
        if self.kind == "softmax":
            x = x.softmax(dim=1)
        if self.kind == "map":
            x = x[:, :, None]
        return x


not_a_model = 3


def a_number():
    return 3
"""


def settings(**changes: Any) -> dict[str, Any]:
    """A small audit's content, with some keys changed."""
    content = {
        "model": {"import": "own_net:Net"},
        "images": {"dataset": "photos10", "resolution": 16},
        "attacks": [{"name": "gia-o", "priors": {"tv": 0.01}, "descent": {"iterations": 3}}],
        "trials": 2,
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}
