"""The files of `gradleak theory`: figures as PDF and PNG, their numbers as CSV, captions as text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FIGURES = ("fig3", "lemma41", "theorem42", "theorem43")
TABLES = ("lemma41_summary", "theorem42_summary", "theorem42_limits", "theorem43_sizes", "theorem43_exceptions")
FILES = (
    *(f"{name}{ending}" for name in FIGURES for ending in (".pdf", ".png", ".csv", ".txt")),
    *(f"{name}.csv" for name in TABLES),
)


def render() -> dict[str, bytes]:
    """Run all experiments; the content of every file of `FILES`, keyed by name."""
    # Imported late: which files there are is asked without torch.
    from gradleak.presentations import style
    from gradleak.theory import captions, figure3, lemma41, theorem42, theorem43
    from gradleak.theory.logit import settled

    example, inverted = figure3.example(), settled(lemma41.measure())
    followed, limits = settled(theorem42.measure()), theorem42.limits()
    (wish, pairs), sizes, sweep = theorem43.pairs(), settled(theorem43.sizes()), settled(theorem43.sweep())
    with style.theme():
        files = {
            **_figure("fig3", figure3.draw(example), settled(example.points), captions.figure3()),
            **_figure("lemma41", lemma41.draw(inverted), inverted, captions.lemma41(inverted)),
            **_figure("theorem42", theorem42.draw(followed, limits), followed, captions.theorem42(followed)),
            **_figure("theorem43", theorem43.draw(wish, pairs, sizes, sweep), sweep, captions.theorem43(sweep)),
        }
    tables = (
        lemma41.summarise(inverted),
        theorem42.summarise(followed),
        limits,
        sizes,
        settled(theorem43.exceptions()),
    )
    return files | {f"{name}.csv": _csv(table) for name, table in zip(TABLES, tables, strict=True)}


def _figure(name: str, figure: "Figure", numbers: "pd.DataFrame", caption: str) -> dict[str, bytes]:
    from gradleak.presentations import style

    return {
        f"{name}.pdf": style.file_bytes(figure, "pdf"),
        f"{name}.png": style.file_bytes(figure, "png", dpi=200),
        f"{name}.csv": _csv(numbers),
        f"{name}.txt": f"{caption}\n".encode(),
    }


def _csv(frame: "pd.DataFrame") -> bytes:
    return frame.to_csv(index=False, float_format="%.5g", lineterminator="\n").encode()
