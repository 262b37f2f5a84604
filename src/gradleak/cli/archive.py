"""The commands `gradleak archive` and `gradleak verify`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradleak.cli.options import PATH, chosen_config, config_option, prepare, progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from gradleak.archive.verify import Comparison


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder that receives the files.")
@click.option("--drop", is_flag=True, help="Replace an archive there even if it has cells that RUN has not.")
def archive(run: Path, out: Path, drop: bool) -> None:
    """Keep what can be committed of a finished run, the folder RUN: plan, results, provenance, checksums, no images.

    Of archives that the run reuses, what belongs to the reused cells becomes part of the new one.

    \b
    Example:
      gradleak archive results/mine --out results/reference
    """
    from gradleak.archive.write import write_archive

    for path in write_archive(run, out, drop):
        click.echo(f"{path} {path.stat().st_size} bytes")


@click.command()
@click.argument("folder", type=PATH, default=Path("results/reference"), required=False)
@config_option
@click.option(
    "--cells",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="How many cells to draw; 0: check the files only.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which cells are drawn.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=8.0,
    show_default=True,
    help="What the drawn cells may take together, at the pace that is recorded.",
)
@click.option("--gallery", type=PATH, help="Folder that receives pictures of what is computed; default: none.")
@click.option("--data", multiple=True, help="Draw only cells that need no data sets but these; repeatable.")
@click.pass_context
def verify(
    context: click.Context,
    folder: Path,
    config_path: Path,
    cells: int,
    seed: int,
    minutes: float,
    gallery: Path | None,
    data: tuple[str, ...],
) -> None:
    """Compute a random sample of the cells of an archive, FOLDER, again and compare.

    Equal bit for bit where device, CPU and torch are those of the archive, else within a tolerance (docs/reference.md).
    Exit code 1 where they disagree. The config's precision must be the archive's. With --gallery, victims and
    reconstructions of the computed runs are drawn, a picture for each drawn cell.

    \b
    Examples:
      gradleak verify
      gradleak verify results/reference --cells 10 --minutes 60 --seed 1
      gradleak verify --data cifar10 --gallery paper_figures/reference/verified
    """
    if not cells:
        from gradleak.archive.read import Archive
        from gradleak.study.reused import FILES

        Archive(folder).check()
        click.echo(f"{folder}: {', '.join(FILES)} are the archived files")
        return
    import tempfile

    from rich.console import Console

    from gradleak.archive.gallery import run_gallery
    from gradleak.archive.read import Archive
    from gradleak.archive.verify import (
        check_data,
        compare,
        differences,
        draw,
        estimate,
        pictures_of,
        plan_of,
        recompute,
    )
    from gradleak.files import check_writable, write_files
    from gradleak.metrics.backbone import fetch_backbone
    from gradleak.stages.session import Session

    if gallery is not None:
        check_writable(gallery, folder=True)
    archive = Archive(folder)
    archive.check()
    config = chosen_config(context, config_path)
    archive.provenance.check_settings(config, ("precision",), folder)
    device = prepare(config)
    drawn = draw(archive, cells, seed, minutes, device, data)
    total = sum(estimate(archive, run, device) for _, run in drawn) / 60
    click.echo(
        f"{folder}: {len(drawn)} of {archive.provenance.cells} cells, drawn with seed {seed}, and those that were "
        f"computed together with them; about {total:.1f} of at most {minutes:g} minutes"
    )
    apart = {
        cell: [*check_data(archive, run, config, config_path), *differences(archive, run, device)]
        for cell, run in drawn
    }
    for reason in dict.fromkeys(reason for reasons in apart.values() for reason in reasons):
        click.echo(f"not expected to be equal bit for bit: {reason}")
    fetch_backbone(config.cache)
    found: list[Comparison] = []
    drawings: list[Path] = []
    with tempfile.TemporaryDirectory() as place, progress_bar() as progress:
        for cell, run in drawn:
            plan = plan_of(run.cells, config)
            ours = recompute(plan, Path(place), Session(device, progress))
            if gallery is not None:
                drawings += write_files(gallery, run_gallery(archive, run, cell, ours, pictures_of(plan, Path(place))))
            ours = ours[ours["cell_id"].isin(run.compared)]
            found += compare(ours, archive.results, exact=not apart[cell])
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(_table(found, {cell for cell, _ in drawn}))
    for path in drawings:
        click.echo(path)
    wrong = [each for each in found if not each.agrees]
    if wrong:
        click.echo(
            f"gradleak: {len(wrong)} of {len(found)} cells differ from {folder}, the first is {wrong[0].cell}", err=True
        )
        sys.exit(1)
    click.echo(f"{sum(each.identical for each in found)} of {len(found)} cells are identical, all agree")


def _table(found: "list[Comparison]", drawn: set[str]) -> "Table":
    from rich.table import Table

    table = Table(box=None)
    for name in ("cell", "images", "LPIPS", "reference", "difference", "PSNR", "reference", "difference", "objective"):
        table.add_column(name, justify="left" if name == "cell" else "right")
    table.add_column("reference", justify="right")
    table.add_column("verdict")
    for each in found:
        lpips, psnr, objective = (each.means[name] for name in ("lpips", "psnr", "objective"))
        table.add_row(
            each.cell + ("*" if each.cell in drawn else ""),
            str(each.images),
            *(f"{lpips[0]:.4f}", f"{lpips[1]:.4f}", f"{lpips[0] - lpips[1]:+.4f}"),
            *(f"{psnr[0]:.2f}", f"{psnr[1]:.2f}", f"{psnr[0] - psnr[1]:+.2f}"),
            *(f"{objective[0]:.5f}", f"{objective[1]:.5f}"),
            each.verdict,
        )
    return table
