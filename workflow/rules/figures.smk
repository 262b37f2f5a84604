"""Tables and figures, from Parquet only."""


rule collect_results:
    """Join the rows of all batches; a cell without rows is an error."""
    output:
        f"{RESULTS}/results.parquet",
    input:
        plan=rules.plan.output[0],
        shards=expand(rules.score_batch.output.shard, batch=STUDY.plan.batches),
    log:
        f"{RESULTS}/logs/collect_results.log",
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak collect --plan {input.plan} --out {output} {input.shards} 2> {log}"


rule collect_images:
    """Join the pictures of all batches."""
    output:
        f"{RESULTS}/images.parquet",
    input:
        plan=rules.plan.output[0],
        shards=expand(rules.score_batch.output.images, batch=STUDY.plan.batches),
    log:
        f"{RESULTS}/logs/collect_images.log",
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak collect --plan {input.plan} --out {output} {input.shards} 2> {log}"


rule tables:
    """Write all tables of the study as CSV and LaTeX, the paper's values beside ours."""
    output:
        report(
            expand(f"{FIGURES}/{{name}}", name=STUDY.tables),
            caption="../report/table.rst",
            category="Tables",
        ),
    input:
        plan=rules.plan.output[0],
        results=rules.collect_results.output[0],
        code=STUDY.table_code(),
    log:
        f"{RESULTS}/logs/tables.log",
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak tables --plan {input.plan} --results {input.results} --out {FIGURES} > {log} 2>&1"


rule figures:
    """Draw all figures and galleries of the study as PDF and PNG."""
    output:
        report(
            expand(f"{FIGURES}/{{name}}", name=STUDY.figures),
            caption="../report/figure.rst",
            category="Figures",
        ),
    input:
        plan=rules.plan.output[0],
        results=rules.collect_results.output[0],
        images=rules.collect_images.output[0],
        code=STUDY.figure_code(),
    log:
        f"{RESULTS}/logs/figures.log",
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak figures --plan {input.plan} --results {input.results} --images {input.images}"
        " --out {FIGURES} > {log} 2>&1"
