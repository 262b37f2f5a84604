"""Which cells of an archive are computed again: a random sample of what is cheap enough."""

from collections.abc import Collection

from gradleak.archive.read import Archive, Run, kind_of
from gradleak.cell import digest
from gradleak.cost import recorded_throughput
from gradleak.errors import UserError


def draw(
    archive: Archive, count: int, seed: int, minutes: float, device: str, data: Collection[str] = ()
) -> list[tuple[str, Run]]:
    """Draw `count` cells of different runs at random, and the run of each.

    Cells are looked at in an order that the seed decides; one is passed over where its run has been drawn, or would
    take, at the recorded pace, longer than is left of `minutes`. With `data`, only runs that need no other data sets
    count. Raises UserError where there are none, or none is cheap enough.
    """
    runs = [run for run in archive.runs if not data or archive.datasets(run) <= set(data)]
    if not runs:
        known = sorted({name for run in archive.runs for name in archive.datasets(run)})
        raise UserError(f"no cell needs only data sets {', '.join(data)}; the archive's are {', '.join(known)}")
    run_of = {cell: run for run in runs for cell in run.compared}
    left = 60 * minutes
    drawn: list[tuple[str, Run]] = []
    for cell in sorted(run_of, key=lambda name: digest([seed, name])):
        seconds = estimate(archive, run_of[cell], device)
        if len(drawn) < count and seconds <= left and all(run is not run_of[cell] for _, run in drawn):
            drawn.append((cell, run_of[cell]))
            left -= seconds
    if count and not drawn:
        cheapest = min(estimate(archive, run, device) for run in runs) / 60
        raise UserError(
            f"no cell can be computed in {minutes:g} minutes; the cheapest takes {cheapest:.1f} (--minutes)"
        )
    return drawn


def estimate(archive: Archive, run: Run, device: str) -> float:
    """Seconds that a run takes here: what it took, scaled between kinds of devices by their recorded throughput."""
    rates = recorded_throughput()
    then = kind_of(archive.environments(run)[0].device)
    return run.seconds * float(rates[then]["flops_per_s"]) / float(rates[kind_of(device)]["flops_per_s"])
