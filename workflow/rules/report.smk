"""Everything that a study shows, as one HTML file: `snakemake report`."""

from gradleak.report.sections import KINDS as CAPTIONS


# Beside the results, not the figures: provenance and run times are not the same twice.
rule report:
    """Write claims, figures, tables, provenance, the graph of rules and run times into one HTML file."""
    input:
        results=rules.collect_results.output[0],
        shown=OUTPUTS,
        claims=rules.claims.output,
        theory=rules.theory.output,
        survey=rules.survey.output,
        captions=expand("workflow/report/{kind}.rst", kind=CAPTIONS),
        code=STUDY.report_code(),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../envs/report.yaml"
    params:
        planned=lambda wildcards: STUDY.digest,
        study=lambda wildcards, output: Path(output[0]).parent,
        figures=lambda wildcards, input: Path(input.claims[0]).parent,
        theory=lambda wildcards, input: Path(input.theory[0]).parent,
        survey=lambda wildcards, input: Path(input.survey[0]).parent,
        captions=lambda wildcards, input: Path(input.captions[0]).parent,
    shell:
        "gradleak report --study-folder {params.study:q} --figures {params.figures:q} --theory {params.theory:q}"
        " --survey {params.survey:q} --captions {params.captions:q} --out {output:q} > {log:q} 2>&1"
