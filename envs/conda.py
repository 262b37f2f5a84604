"""Writes compute.yaml and report.yaml: per kind of stage the packages that it imports and all that those need, in the
versions of requirements.txt. `make lock` runs it.
"""

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

FOLDER = Path(__file__).parent
REPORT = (
    "click",
    "jinja2",
    "markupsafe",
    "matplotlib",
    "numpy",
    "pandas",
    "pillow",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "rich",
    "scipy",
    "seaborn",
)
COMPUTE = (
    *REPORT,
    *("cma", "dp-accounting", "lpips", "pytorch-pretrained-biggan", "safetensors", "scikit-image", "scikit-learn"),
    *("torch", "torchvision"),
)
STAGES = {
    "compute": (COMPUTE, "the stages that compute: data, training, updates, attacks, scores, IGSA, theory"),
    "report": (REPORT, "the stages that report: results, tables, figures, claims, survey, report. Without torch"),
}


def normalised(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: tuple[str, ...]) -> set[str]:
    """Normalised names of packages and of all that they need here."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = normalised(waiting.pop())
        if name not in found:
            found.add(name)
            needed = [Requirement(line) for line in requires(name) or []]
            waiting += [need.name for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def environment(stage: str) -> str:
    """The conda environment of a kind of stage. setuptools, which requirements.txt leaves to pip, is left out."""
    names, what = STAGES[stage]
    wanted = closure(names)
    pins = re.findall(r"^(\S+)==(\S+)$", (FOLDER / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    lines = [
        f"# Written by `make lock` for {what}.",
        f"# After it {stage}.post-deploy.sh installs this package itself.",
        f"name: gradleak-{stage}",
        "channels: [conda-forge]",
        "dependencies:",
        "  - python=3.11",
        "  - pip",
        "  - pip:",
        *(f"      - {name}=={number}" for name, number in pins if normalised(name) in wanted),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for stage in STAGES:
        (FOLDER / f"{stage}.yaml").write_text(environment(stage), encoding="utf-8")
