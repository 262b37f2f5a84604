"""Registries: discovery, and that one new entry is enough to extend the tool."""

import io
import sys

import pandas as pd
import pytest
from core_cases import run_alone
from PIL import Image

from gradleak.errors import UserError
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import PRIORS, Prior
from gradleak.registry import Registry
from gradleak.study.cell import Cell


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules that register one entry each, in a registry that discovers them."""
    folder = tmp_path / "zoo_of_core_tests"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "base.py").write_text(
        "from gradleak.registry import Registry\nANIMALS = Registry('animal', 'zoo_of_core_tests')\n"
    )
    for name, value in (("cat", 1), ("ant", 2)):
        (folder / f"{name}.py").write_text(
            f"from zoo_of_core_tests.base import ANIMALS\nANIMALS.register('{name}')({value})\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("zoo_of_core_tests")]:
        del sys.modules[name]


def test_modules_of_the_package_are_discovered_on_the_first_look_up(package):
    from zoo_of_core_tests.base import ANIMALS

    assert "zoo_of_core_tests.cat" not in sys.modules
    assert ANIMALS["cat"] == 1
    assert list(ANIMALS) == ANIMALS.names() == ["ant", "cat"]
    assert "cat" in ANIMALS
    assert "dog" not in ANIMALS
    assert ANIMALS.origin("ant") == "zoo_of_core_tests.ant"


def test_an_unknown_name_lists_the_known_ones(package):
    from zoo_of_core_tests.base import ANIMALS

    for look_up in (ANIMALS.__getitem__, ANIMALS.origin):
        with pytest.raises(UserError, match=r"^unknown animal 'dog'; known: ant, cat$"):
            look_up("dog")


def test_a_name_cannot_be_taken_twice():
    registry = Registry("thing", "gradleak.objectives")
    registry.register("a")(1)
    with pytest.raises(ValueError, match="thing 'a' is registered twice"):
        registry.register("a")(2)


@pytest.fixture
def extensible(monkeypatch):
    for registry in (OBJECTIVES, PRIORS):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_origins", dict(registry._origins))


def cell_of(**attack):
    attack = {"name": "gia-o", "descent": {"iterations": 30, "lr": 0.3}} | attack
    return Cell.parse(
        {
            "dataset": {"name": "photos10", "resolution": 16},
            "model": {"name": "convnet", "options": {"channels": 4, "stages": 1, "layers": 1}},
            "client": {"samples": 2},
            "attack": attack,
            "victims": [0, 1],
        },
        "here",
    )


def test_a_prior_and_an_objective_of_ones_own_run_by_their_names(extensible, cache, tmp_path):
    seen = []

    @PRIORS.register("dark")
    class Dark(Prior):
        level = 0

        def __call__(self, images, moments):
            seen.append(tuple(images.shape))
            return images.mean(dim=(1, 2, 3, 4))

    @OBJECTIVES.register("small_euclidean")
    def small_euclidean(inner, norm2, target_norm2):
        return 0.01 * (norm2 - 2 * inner + target_norm2).sum(1)

    assert PRIORS.origin("dark") == __name__
    frames = {
        name: run_alone(cell_of(**attack), cache, tmp_path / name)
        for name, attack in {
            "plain": {"objective": "euclidean"},
            "small": {"objective": "small_euclidean"},
            "dark": {"objective": "small_euclidean", "priors": {"dark": 1000.0}},
        }.items()
    }
    assert set(seen) == {(1, 2, 3, 16, 16)}
    assert (frames["dark"]["attack_priors_dark"] == 1000.0).all()
    assert (frames["dark"]["attack_objective"] == "small_euclidean").all()
    # The objective is in use: a hundredth of the distance. The prior is in use: what comes out is black.
    assert 0 < frames["small"]["objective"].iloc[0] < frames["plain"]["objective"].iloc[0]

    def brightness(name):
        (png,) = pd.read_parquet(tmp_path / name / "images.parquet").query("position == 0")["reconstruction_png"]
        return sum(Image.open(io.BytesIO(png)).convert("L").tobytes()) / 256

    assert brightness("dark") < 5
    assert brightness("small") > 50


def test_an_unknown_prior_or_objective_lists_a_registered_one_too(extensible):
    @PRIORS.register("aaa_mine")
    class Mine(Prior):
        def __call__(self, images, moments):
            return images.sum(dim=(1, 2, 3, 4))

    with pytest.raises(UserError, match="unknown prior 'nosuch'; known: aaa_mine, bn, tv, tv_sum"):
        cell_of(priors={"nosuch": 1})
