"""The project's look: seaborn's style by value, and what is left after the theme."""

import matplotlib

from gradleak.presentations import style


def test_theme_is_the_ticks_style_of_seaborn() -> None:
    import seaborn

    expected = seaborn.axes_style("ticks", rc={"axes.grid": True})
    with style.theme():
        found = matplotlib.rcParams.copy()
    # Colours and fonts are the project's own, and no figure uses the default colour map.
    own = {"axes.labelcolor", "axes.edgecolor", "grid.color", "text.color", "xtick.color", "ytick.color"}
    own |= {"font.family", "font.sans-serif", "image.cmap"}
    differing = {key for key, value in expected.items() if found[key] != value} - own
    assert differing == set()


def test_theme_leaves_settings_as_found() -> None:
    before = matplotlib.rcParams["axes.grid"], matplotlib.rcParams["font.family"]
    with style.theme():
        assert (matplotlib.rcParams["axes.grid"], matplotlib.rcParams["font.family"]) != before
    assert (matplotlib.rcParams["axes.grid"], matplotlib.rcParams["font.family"]) == before
