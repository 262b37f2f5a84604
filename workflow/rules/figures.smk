"""Tables and figures, from Parquet only."""


rule collect_results:
    """Join the rows of all batches and of reused archives; a cell without rows is an error."""
    input:
        shards=expand(rules.score_batch.output.shard, batch=STUDY.plan.batches),
        smoothness=expand(rules.measure_smoothness.output[0], batch=STUDY.plan.smoothness_batches),
        trainings=[result("federate_training", name) for name in STUDY.plan.trainings],
        code=STUDY.collect_code(),
    output:
        result("collect_results", ""),
    log:
        f"{RESULTS}/logs/collect_results.log",
    conda:
        "../../envs/report.yaml"
    params:
        plan=PLAN,
        planned=lambda wildcards: STUDY.digest,
        smoothness=lambda wildcards, input: folder_option("smoothness", input.smoothness),
        trainings=lambda wildcards, input: folder_option("trainings", input.trainings),
        # The plan names their content, and is another file where that changes.
        archives=[word for folder in STUDY.archives for word in ("--archive", folder)],
    shell:
        "gradleak collect --plan {params.plan:q} {params.smoothness:q} {params.trainings:q} {params.archives:q}"
        " --out {output:q} {input.shards:q} 2> {log:q}"


rule collect_images:
    """Join the pictures of all batches."""
    input:
        shards=expand(rules.score_batch.output.images, batch=STUDY.plan.batches),
        code=STUDY.collect_code(),
    output:
        result("collect_images", ""),
    log:
        f"{RESULTS}/logs/collect_images.log",
    conda:
        "../../envs/report.yaml"
    params:
        plan=PLAN,
        planned=lambda wildcards: STUDY.digest,
    shell:
        "gradleak collect --plan {params.plan:q} --out {output:q} {input.shards:q} 2> {log:q}"


rule tables:
    """Write all tables of the study as CSV and LaTeX, the paper's values beside ours."""
    input:
        results=rules.collect_results.output[0],
        code=STUDY.table_code(),
    output:
        report(
            expand(f"{FIGURES}/{{name}}", name=STUDY.tables),
            caption="../report/table.rst",
            category="Tables",
        ),
    log:
        f"{RESULTS}/logs/tables.log",
    conda:
        "../../envs/report.yaml"
    params:
        plan=PLAN,
        planned=lambda wildcards: STUDY.digest,
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "gradleak tables --plan {params.plan:q} --results {input.results:q} --out {params.folder:q} > {log:q} 2>&1"


rule figures:
    """Draw all figures and galleries of the study as PDF and PNG."""
    input:
        results=rules.collect_results.output[0],
        images=rules.collect_images.output[0] if STUDY.plan.batches else [],
        code=STUDY.figure_code(),
    output:
        report(
            expand(f"{FIGURES}/{{name}}", name=STUDY.figures),
            caption="../report/figure.rst",
            category="Figures",
        ),
    log:
        f"{RESULTS}/logs/figures.log",
    conda:
        "../../envs/report.yaml"
    params:
        plan=PLAN,
        planned=lambda wildcards: STUDY.digest,
        folder=lambda wildcards, output: Path(output[0]).parent,
        images=lambda wildcards, input: ["--images", input.images] if input.images else [],
    shell:
        "gradleak figures --plan {params.plan:q} --results {input.results:q} {params.images:q}"
        " --out {params.folder:q} > {log:q} 2>&1"
