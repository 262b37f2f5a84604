"""What a study was estimated to take beside what it took: by stage, and by model and attack.

Takes the folder of a study, with its provenance files, or an archive; what is not done yet is left out. Estimates are
those of this checkout, for the device of the plan. The start of a job is in the rows of stages and in no other. The
last line is JSON.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradleak.archive.provenance import Provenance
from gradleak.pipeline.jobs import gpu_job
from gradleak.pipeline.stages import STAGES, Stage
from gradleak.study.cost import batch_cost, recorded_throughput
from gradleak.study.plan import Plan

#: Seconds of a job, and of each family of an attack job, by stage and id; None where it is not done.
Took = Callable[[Stage, str], tuple[float, dict[str, float]] | None]


class Sums(defaultdict[str, list[float]]):
    """Estimated and measured seconds by name."""

    def __init__(self) -> None:
        super().__init__(lambda: [0.0, 0.0])

    def add(self, name: str, estimated: float, measured: float) -> None:
        self[name][0] += estimated
        self[name][1] += measured

    def rows(self, title: str) -> list[dict[str, Any]]:
        """Print one line per name and return them, what took longest first."""
        print(f"{title:44}{'estimated':>10}{'measured':>10}{'ratio':>7}")
        rows = []
        for name, (estimated, measured) in sorted(self.items(), key=lambda item: -item[1][1]):
            rows.append({"name": name, "estimated_s": round(estimated, 1), "measured_s": round(measured, 1)})
            print(f"{name:44}{estimated:9.1f}s{measured:9.1f}s{estimated / measured if measured else 0:7.2f}")
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimated and measured seconds of a study's jobs that are done.")
    parser.add_argument("folder", type=Path, help="of the study or archive, such as results/quick")
    folder = parser.parse_args().folder
    plan = Plan.read(folder / "plan.json")
    speed = recorded_throughput()[plan.config.estimated_device]
    took, stages, attacks = recorded(folder), Sums(), Sums()
    for stage in STAGES:
        if not stage.gpu:
            continue
        for name in stage.ids(plan):
            record = took(stage, name)
            if record is None:
                continue
            seconds, families = record
            stages.add(stage.name, gpu_job(plan, stage.rule, name).seconds, seconds)
            if stage.name == "reconstruct":
                for family in plan.families(name):
                    cell = family[0]
                    kind = f"{cell.model.name} {cell.model.width:g}, {cell.attack.name} {cell.attack.knowledge}"
                    estimated = speed.seconds(batch_cost(family, plan.config.estimated_device))
                    if cell.family in families:
                        attacks.add(kind, estimated, families[cell.family])
    print(json.dumps({"stages": stages.rows("stage"), "attacks": attacks.rows("model and attack")}))


def recorded(folder: Path) -> Took:
    """What an archive's or a study's records say."""
    if (folder / "provenance.json").exists():
        jobs = Provenance.read(folder / "provenance.json").jobs
        return lambda stage, name: (jobs[stage.name][name].seconds, jobs[stage.name][name].families)

    def of(stage: Stage, name: str) -> tuple[float, dict[str, float]] | None:
        path = folder / f"{stage.output.format(name)}.provenance.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return content["seconds"], content.get("family_seconds", {})

    return of


if __name__ == "__main__":
    main()
