"""The paper's lemma and theorems as numerical experiments: the same for every study."""

from gradleak.theory.outputs import FILES as THEORY_FILES


rule theory:
    """Measure and draw Lemma 4.1, Theorems 4.2 and 4.3, and Figure 3."""
    input:
        code=STUDY.theory_code(),
    output:
        report(
            expand("paper_figures/theory/{name}", name=THEORY_FILES),
            caption="../report/theory.rst",
            category="Theory",
        ),
    log:
        f"{RESULTS}/logs/theory.log",
    conda:
        "../../envs/compute.yaml"
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "gradleak theory --output {params.folder:q} > {log:q} 2>&1"
