"""The paper's survey of attacks: the same for every study."""

from gradleak.survey.outputs import FILES as SURVEY_FILES


rule survey:
    """Write Table 7 and draw Figures 1, 2 and 8 from the survey file."""
    input:
        code=STUDY.survey_code(),
    output:
        report(
            expand("paper_figures/survey/{name}", name=SURVEY_FILES),
            caption="../report/survey.rst",
            category="Survey",
        ),
    log:
        f"{RESULTS}/logs/survey.log",
    conda:
        "../../envs/report.yaml"
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "gradleak survey --output {params.folder:q} > {log:q} 2>&1"
