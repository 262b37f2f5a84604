"""Invented studies with the experiments and labels of the paper's: one where everything is as the paper says, its
mirror image, and one whose trials contradict each other.

Every experiment says what its cells measure where the paper is right. The mirror turns LPIPS over at 0.1, PSNR at 10 dB
and so on, which puts every difference, trend and mean on the other side.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from gradleak.claims.base import ClaimData
from gradleak.presentations.read import parse_experiment

TRIALS, RESTARTS = 12, 4
LEVELS = {"gia-o": 1, "gia-l": 2, "rog": 2}
WORLDS = ("paper", "mirror", "mixed")
MIRROR = {"lpips": 0.1, "lpips_detail": 0.1, "psnr": 10.0, "hf_detail": 0.1}

Cell = tuple[Mapping[str, object], Mapping[str, object], Mapping[str, float]]
Row = tuple[Mapping[str, object], Mapping[str, object]]


def study(rows: list[Row]) -> ClaimData:
    """One experiment 'exp' of cells c0, c1, ... with one image each: labels, and columns (`image`: the victim)."""
    fixed = {"restart": 0, "chosen": True, "position": 0, "client_samples": 1, "dataset_name": "d", "iterations": 1}
    results = [{"cell_id": f"c{i}", **fixed, **columns} for i, (_, columns) in enumerate(rows)]
    cells = [{"cell_id": f"c{i}", "labels": dict(labels)} for i, (labels, _) in enumerate(rows)]
    experiment = parse_experiment("exp", {"title": "t", "show": [], "cells": cells}, "plan")
    return ClaimData("s", "S", {"exp": experiment}, pd.DataFrame(results))


def cell(labels: Mapping[str, object], columns: Mapping[str, object], **metrics: float) -> Cell:
    return labels, columns, metrics


def table1() -> Iterator[Cell]:
    for attack in ("gia-o", "gia-l"):
        for steps in (1, 2, 4, 6, 8):
            yield cell({}, {"attack_name": attack, "client_steps": steps}, lpips=0.03 * steps + 0.01)


def table2() -> Iterator[Cell]:
    for attack in ("gia-o", "gia-l"):
        for knowledge in ("wst", "bst"):
            for steps in (1, 2, 4, 6, 8, 10):
                columns = {"attack_name": attack, "client_steps": steps, "attack_knowledge": knowledge}
                columns |= {"client_samples": 4 * steps, "client_batch_size": 4}
                columns |= {"attack_level": 3} if knowledge == "wst" else {}
                labels = {"minibatches": steps, "knowledge": knowledge.upper()}
                yield cell(labels, columns, lpips=0.03 * steps + 0.02 * (knowledge == "bst"))
        for minibatches in (2, 4, 6, 8, 10):
            size = {"client_samples": 4 * minibatches, "client_batch_size": 4 * minibatches}
            columns = {"attack_name": attack, "client_steps": 1, "attack_knowledge": "bst", **size}
            yield cell({"minibatches": minibatches, "knowledge": "one batch"}, columns, lpips=0.02 * minibatches)


def figure4(column: str, values: tuple[int, ...], limit: int) -> Iterator[Cell]:
    for attack, variant in (("gia-o", "$G_O$"), ("gia-l", "$G_L$")):
        for i, value in enumerate(values):
            lpips = 0.02 * (i + 1) if value < limit else 0.2 + 0.02 * i - 0.05 * (attack == "gia-l")
            yield cell({"variant": variant}, {"attack_name": attack, column: value}, lpips=lpips)


def fig5() -> Iterator[Cell]:
    # The amount of detail is the trial's, see `_measured`: a sixth of it is added to LPIPS.
    for content, lpips in (("ordinary", 0.11), ("detailed", 0.2)):
        measured = {"lpips_detail": 0.3, "hf_background": 0.1, "hf_detail": 0.2, "detail": 0.0}
        yield cell({"content": content}, {}, lpips=lpips, **measured)


def fig6() -> Iterator[Cell]:
    for attack in ("gia-o", "gia-l"):
        for domain, lpips in (("ID", 0.05), ("OOD", 0.15)):
            yield cell({"domain": domain}, {"attack_name": attack}, lpips=lpips)


def fig7() -> Iterator[Cell]:
    for model in ("vgg11", "resnet18"):
        for number in (0, 5, 10, 15, 20):
            measured = {"igsa": 30.0 - number, "model_accuracy": 0.1 + number / 40, "psnr": 20.0 - 0.9 * number}
            measured["lpips"] = number / 50
            yield cell({"model": model}, {"model_name": model, "model_round": number}, **measured)


def fig9() -> Iterator[Cell]:
    for cut in ("N", 0, 1, 2, 3):
        yield cell({"network": "ResNet-18", "cut": cut}, {}, lpips=0.05 if cut == "N" else 0.3 - 0.03 * int(cut))


def fig10() -> Iterator[Cell]:
    for i, variant in enumerate(("Baseline", "Variant-1", "Variant-2")):
        yield cell({"network": "DenseNet-43", "variant": variant}, {"model_skips": 30 - 9 * i}, lpips=0.05 + 0.1 * i)


def table3() -> Iterator[Cell]:
    for gradient in ("Full", "#1", "#2"):
        yield cell({"model": "GoogLeNet", "gradient": gradient}, {}, lpips=0.2 if gradient == "Full" else 0.05)


def table4() -> Iterator[Cell]:
    better = {"R ReLU", "R DropOut", "R MaxPool2d", "I kernel to 4"}
    worse = {"R bias", "D kernel to 2", "D kernel to 1", "I padding to 2", "I padding to 3"}
    for name in ("None", *sorted(better), *sorted(worse)):
        yield cell({"modification": name}, {}, lpips=0.05 - 0.03 * (name in better) + 0.03 * (name in worse))


def fig11() -> Iterator[Cell]:
    strengths = {
        ("None", "-"): (0.02, 0.40),
        ("Quantization", "2-bit"): (0.18, 0.44),
        ("Sparsification", "0.9"): (0.17, 0.30),
        ("Perturbation", "0.1"): (0.16, 0.30),
        ("Clipping", "0.1"): (0.02, 0.52),
    }
    for (technique, strength), (lpips, accuracy) in strengths.items():
        for attack, more in (("gia-o", 0.01), ("rog", 0.0), ("GIA-O, adaptive", 0.005)):
            columns = {"technique": technique, "strength": strength, "model_round": 5}
            columns |= {"attack_name": attack}
            if attack == "GIA-O, adaptive":
                columns |= {"attack_name": "gia-o", "attack_level": 3, "attack_adaptive": True}
            yield cell(
                {"setting": "ResNet-18, CIFAR100", "attack": attack},
                columns,
                lpips=lpips + more,
                model_accuracy=accuracy,
            )


def table6() -> Iterator[Cell]:
    for technique in ("Q", "S", "P", "C"):
        yield cell({"technique": technique}, {"attack_name": "rog"}, lpips=0.05 if technique == "C" else 0.2)


EXPERIMENTS = {
    "table1": table1,
    "table2": table2,
    "fig4a": lambda: figure4("dataset_resolution", (16, 32, 64, 128), 64),
    "fig4b": lambda: figure4("client_samples", (1, 8, 20, 30, 80), 30),
    "fig5": fig5,
    "fig6": fig6,
    "fig7": fig7,
    "fig9": fig9,
    "fig10": fig10,
    "table3": table3,
    "table4": table4,
    "fig11": fig11,
    "table6": table6,
}


def world(kind: str) -> ClaimData:
    """A study of one of `WORLDS`."""
    rows: list[dict[str, object]] = []
    experiments = {}
    for name, cells in EXPERIMENTS.items():
        plan = []
        for number, (labels, columns, metrics) in enumerate(cells()):
            for trial in range(TRIALS):
                cell_id = f"{name}-{number}-{trial}"
                plan.append({"cell_id": cell_id, "labels": dict(labels)})
                row = _row(cell_id, trial) | dict(columns)
                level = {"attack_level": LEVELS[str(row["attack_name"])]}
                rows.append(level | row | _measured(_turned_of(name, kind, trial), trial, metrics))
        experiments[name] = parse_experiment(name, {"title": name, "show": [], "cells": plan}, "plan")
    plan = []
    for size in (5, 10, 50):
        for trial in range(TRIALS):
            plan.append({"cell_id": f"table5-{size}-{trial}", "labels": {}})
            rows += _table5(kind, trial, size)
    experiments["table5"] = parse_experiment("table5", {"title": "table5", "show": [], "cells": plan}, "plan")
    return ClaimData(kind, f"World {kind}", experiments, pd.DataFrame(rows))


def write_theory(folder: Path, kind: str) -> None:
    """The CSV files of the theory, as far as claims read them, with a line per trial."""
    lemma, theorem = ["network,trial,solution,route,error"], ["ratio,difference"]
    for trial in range(TRIALS):
        factor = 1.9 if _turned(kind, trial) else 0.1
        for route in ("gradients", "printed"):
            lemma += [f"relu,{trial},true,{route},{0.01 * factor}", f"relu,{trial},other,{route},7"]
        lemma.append(f"batch,{trial},true,gradients,7")
        theorem += [f"0.9,{1e-6 * factor}", "1.5,7"]
    (folder / "lemma41.csv").write_text("\n".join(lemma))
    (folder / "theorem43.csv").write_text("\n".join(theorem))


def _row(cell_id: str, trial: int) -> dict[str, object]:
    fixed = {"cell_id": cell_id, "restart": 0, "chosen": True, "position": 0, "image": trial, "client_samples": 1}
    more = {"dataset_name": "photos10", "dataset_resolution": 32, "model_name": "convnet", "model_width": 1.0}
    return fixed | more | {"attack_name": "gia-o", "client_lr": 0.01, "iterations": 100}


def _measured(turned: bool, trial: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """A trial's metrics: its own shift, the same in all cells, and turned over where its world is."""
    found = {}
    if "detail" in metrics:
        detail = 0.5 * (trial >= TRIALS / 2)
        metrics = {**metrics, "detail": detail, "lpips": metrics["lpips"] + detail / 6}
    for name, value in metrics.items():
        found[name] = (2 * MIRROR[name] - value if turned and name in MIRROR else value) + 1e-4 * (trial % 3)
    return found


def _turned(kind: str, trial: int) -> bool:
    return kind == "mirror" or (kind == "mixed" and trial % 2 == 1)


def _turned_of(name: str, kind: str, trial: int) -> bool:
    """Of Figure 11 a third of the mixed trials is turned over: its scores lie further on one side than on the other."""
    return _turned(kind, trial) and not (name == "fig11" and kind == "mixed" and trial % 3 == 0)


def _table5(kind: str, trial: int, size: int) -> list[dict[str, object]]:
    """Reconstructions of one batch. Rates follow from LPIPS and PSNR, so that they cannot be turned over by themselves.

    `always` images leak in every restart, the first one in the share `first` of them. As the paper says, the larger the
    batch, the fewer images leak, and the higher is the mean. Turned over, more of them leak, while a single image that
    is far off lifts the mean.
    """
    turned = _turned(kind, trial)
    sizes = {5: (0.25, 0), 10: (0.75, 0), 50: (1.0, 4)} if turned else {5: (1, 4), 10: (1, 4), 50: (0, 0)}
    first, always = sizes[size]
    found: list[dict[str, object]] = []
    for restart in range(RESTARTS):
        for position in range(size):
            leaks = restart < RESTARTS * first if position == 0 else position <= always
            lpips = size if turned and position == size - 1 else 0.05 if leaks else 0.3
            base = _row(f"table5-{size}-{trial}", 1000 * trial + position)
            base |= {"position": position, "restart": restart, "chosen": restart == 0, "client_samples": size}
            base |= {"attack_level": 1}
            found.append(base | {"lpips": lpips + 1e-4 * trial, "psnr": 25.0 if leaks else 5.0})
    return found
