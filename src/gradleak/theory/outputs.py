"""The files of `gradleak theory`: figures as PDF and PNG, their numbers as CSV, captions as text."""

from gradleak.presentations import style

FIGURES = ("fig3", "lemma41", "theorem42", "theorem43")
TABLES = ("lemma41_summary", "theorem42_summary", "theorem42_limits", "theorem43_sizes", "theorem43_exceptions")
FILES = (
    *(f"{name}{ending}" for name in FIGURES for ending in (".pdf", ".png", ".csv", ".txt")),
    *(f"{name}.csv" for name in TABLES),
)


def render() -> dict[str, bytes]:
    """Run all experiments; the content of every file of `FILES`, keyed by name."""
    # Imported late: which files there are is asked without torch.
    from gradleak.theory import figure3, lemma41, theorem42, theorem43
    from gradleak.theory.rounding import settled

    example, inverted = figure3.example(), settled(lemma41.measure())
    followed, limits = settled(theorem42.measure()), theorem42.limits()
    (wish, pairs), sizes, sweep = theorem43.pairs(), settled(theorem43.sizes()), settled(theorem43.sweep())
    with style.theme():
        files = {
            **style.captioned_files(figure3.draw(example), "fig3", figure3.caption()),
            **style.captioned_files(lemma41.draw(inverted), "lemma41", lemma41.caption(inverted)),
            **style.captioned_files(theorem42.draw(followed, limits), "theorem42", theorem42.caption(followed)),
            **style.captioned_files(theorem43.draw(wish, pairs, sizes, sweep), "theorem43", theorem43.caption(sweep)),
        }
    numbers = {
        "fig3": settled(example.points),
        "lemma41": inverted,
        "lemma41_summary": lemma41.summarise(inverted),
        "theorem42": followed,
        "theorem42_summary": theorem42.summarise(followed),
        "theorem42_limits": limits,
        "theorem43": sweep,
        "theorem43_sizes": sizes,
        "theorem43_exceptions": settled(theorem43.exceptions()),
    }
    for name, frame in numbers.items():
        files[f"{name}.csv"] = frame.to_csv(index=False, float_format="%.5g", lineterminator="\n").encode()
    return {name: files[name] for name in FILES}
