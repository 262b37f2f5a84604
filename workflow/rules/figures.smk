"""Tables and figures, from Parquet only."""


rule collect_results:
    """Join the rows of all batches and of reused archives; a cell without rows is an error."""
    input:
        plan=PLAN,
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
        smoothness=lambda wildcards, input: folder_option("smoothness", input.smoothness),
        trainings=lambda wildcards, input: folder_option("trainings", input.trainings),
        # The plan names their content, and is another file where that changes.
        archives=" ".join(f"--archive {shlex.quote(folder)}" for folder in STUDY.archives),
    shell:
        "gradleak collect --plan {input.plan} {params.smoothness} {params.trainings} {params.archives} --out {output}"
        " {input.shards} 2> {log}"


rule collect_images:
    """Join the pictures of all batches."""
    input:
        plan=PLAN,
        shards=expand(rules.score_batch.output.images, batch=STUDY.plan.batches),
        code=STUDY.collect_code(),
    output:
        result("collect_images", ""),
    log:
        f"{RESULTS}/logs/collect_images.log",
    conda:
        "../../envs/report.yaml"
    shell:
        "gradleak collect --plan {input.plan} --out {output} {input.shards} 2> {log}"


rule tables:
    """Write all tables of the study as CSV and LaTeX, the paper's values beside ours."""
    input:
        plan=PLAN,
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
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "gradleak tables --plan {input.plan} --results {input.results} --out {params.folder} > {log} 2>&1"


rule figures:
    """Draw all figures and galleries of the study as PDF and PNG."""
    input:
        plan=PLAN,
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
        folder=lambda wildcards, output: Path(output[0]).parent,
        images=lambda wildcards, input: f"--images {input.images}" if input.images else "",
    shell:
        "gradleak figures --plan {input.plan} --results {input.results} {params.images}"
        " --out {params.folder} > {log} 2>&1"
