"""The files of `gradleak survey`: Table 7 with what belongs to it, and Figures 1, 2 and 8."""

from gradleak.presentations import style
from gradleak.survey import figure1, figure2, figure8, table7
from gradleak.survey.schema import Survey

FIGURES = ("fig1", "fig2", "fig8")
TABLES = ("table7.csv", "table7.tex", "table7_counts.csv", "table7_checks.csv")
FILES = (*TABLES, *(f"{name}{ending}" for name in FIGURES for ending in (".pdf", ".png", ".txt")))

_CAPTIONS = {
    "fig1": "Figure 1: the surveyed attacks by the year that Table 7 gives and by strategy; an attack with two "
    "strategies stands in both. Colour: the highest assumption level (Sec. 2.2). In italics: what the paper names an "
    "attack for. Frames: implemented in this package, wholly or in part. Numbers are the paper's references.",
    "fig2": "Figure 2: from training data to the shared update, the three aspects on which an attack depends, each "
    "with what the literature often assumes and what practical systems have (Sec. 3).",
    "fig8": "Figure 8: two widely used structures. (a) Skip connections as in ResNet (addition) and DenseNet "
    "(concatenation), above them the factor of layer l in the gradient (Eqs. 11 and 12). (b) Net-in-net: a block of "
    "GoogLeNet.",
}


def render(survey: Survey) -> dict[str, bytes]:
    """The content of every file of `FILES`, keyed by name."""
    tables = (table7.table_csv, table7.table_latex, table7.counts_csv, table7.checks_csv)
    files = {name: table(survey).encode() for name, table in zip(TABLES, tables, strict=True)}
    with style.theme():
        figures = (figure1.draw(survey), figure2.draw(), figure8.draw())
        for name, figure in zip(FIGURES, figures, strict=True):
            files |= style.captioned_files(figure, name, _CAPTIONS[name])
    return files
