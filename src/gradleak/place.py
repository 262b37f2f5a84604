"""Whose code runs: a checkout that was copied keeps an environment that still runs the code of the original."""

from pathlib import Path

from gradleak.errors import UserError

_RUNNING = Path(__file__).parent


def check_place(folder: Path) -> None:
    """Raise UserError if a folder is a checkout with code of its own, and the code that runs is another's.

    A folder without `src/gradleak` has no code that could be meant.
    """
    own = folder / "src" / "gradleak"
    if (own / "place.py").is_file() and not own.samefile(_RUNNING):
        raise UserError(
            f"{folder}: has its own code in src/gradleak, but the environment in use runs {_RUNNING}; "
            "run `make` here, which makes an environment for this folder, or set PYTHONPATH=src"
        )
