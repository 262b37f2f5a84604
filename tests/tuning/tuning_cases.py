"""A search small enough to run in a second: two clients of two 16-pixel crops, and as many for the validation."""

import copy

import yaml

from gradleak.tuning.search import load_search

SEARCH = {
    "title": "Tiny",
    "cell": {
        "dataset": {"name": "photos10", "resolution": 16},
        "model": {"name": "convnet", "options": {"channels": 4, "stages": 1, "layers": 1}},
        "client": {"samples": 2, "lr": 0.1},
        # From grey on: after so few iterations, what is left of random noise would decide the score.
        "attack": {"name": "gia-o", "init": "grey", "priors": {"tv": 0.001}, "descent": {"iterations": 16, "lr": 0.1}},
    },
    "space": {
        "descent.lr": {"choice": [0.1, 1.0e-5]},
        "priors.tv": {"low": 0.001, "high": 0.01, "log": True},
    },
    "trials": {"count": 2},
    "candidates": 4,
    "rungs": [0.5, 1.0],
    "start": [{"descent.lr": 1.0e-5}, {}],
    "seed": 3,
}


def search_of(folder, **changes):
    """The search with keys changed, `a__b` for `b` in `a`; None leaves one out. Read from a file as a user's."""
    content = copy.deepcopy(SEARCH)
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        node = content
        for parent in parents:
            node = node[parent]
        node.pop(leaf, None)
        if value is not None:
            node[leaf] = value
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_search(path)
