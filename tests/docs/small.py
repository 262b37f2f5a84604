"""Small stand-ins for what commands on pages read: a search and a study."""

import yaml

MODEL = {"name": "convnet", "options": {"channels": 2, "stages": 1, "layers": 1}}
SEARCH = yaml.safe_dump(
    {
        "title": "Small",
        "cell": {
            "dataset": {"name": "photos10", "resolution": 16},
            "model": MODEL,
            "client": {"samples": 1},
            "attack": {"name": "gia-o", "init": "grey", "priors": {"tv": 0.001}, "descent": {"iterations": 2}},
        },
        "space": {"descent.lr": {"choice": [0.1, 0.01]}},
        "trials": {"count": 1},
        "candidates": 2,
        "rungs": [1.0],
        "start": [{}],
        "seed": 0,
    }
)
STUDY = yaml.safe_dump(
    {
        "title": "Small",
        "defaults": {
            "dataset": {"name": "photos10", "resolution": 16},
            "model": MODEL,
            "attack": {"name": "gia-o", "descent": {"iterations": 2}},
        },
        "experiments": {"one": {"title": "One", "paper": "-", "show": [], "cells": [{}]}},
    }
)
