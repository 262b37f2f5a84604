"""Checkpoints of the global model."""


rule write_checkpoint:
    """Write the untrained global model, round 0."""
    input:
        data=lambda wildcards: result("fetch_data", STUDY.checkpoint_cell(wildcards.checkpoint).dataset.name),
        code=lambda wildcards: STUDY.checkpoint_code(wildcards.checkpoint),
    output:
        result("write_checkpoint", "{checkpoint}"),
    log:
        f"{RESULTS}/logs/write_checkpoint/{{checkpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_checkpoint/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=STUDY.untrained,
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=grown(4000),
        runtime=grown(10),
    params:
        plan=PLAN,
        settings=STUDY.settings,
    shell:
        "gradleak checkpoint --plan {params.plan:q} --checkpoint {wildcards.checkpoint:q}"
        " --out {output:q} 2> {log:q}"


# One rule per training: only so does Snakemake know which checkpoints a job writes.
for _training in STUDY.plan.trainings:

    rule:
        name:
            f"federate_training_{_training}"
        input:
            data=result("fetch_data", STUDY.plan.training_cell(_training).training_data.name),
            code=STUDY.federate_code(_training),
        output:
            accuracy=result("federate_training", _training),
            checkpoints=[result("write_checkpoint", name) for name in STUDY.plan.trainings[_training]],
        log:
            f"{RESULTS}/logs/federate_training/{_training}.log",
        benchmark:
            f"{RESULTS}/benchmarks/federate_training/{_training}.tsv"
        conda:
            "../../envs/compute.yaml"
        threads: STUDY.threads
        resources:
            mem_mb=grown(8000),
            runtime=grown(STUDY.minutes("federate_training", _training)),
            gpu=STUDY.gpus,
        params:
            plan=PLAN,
            settings=STUDY.settings,
            training=_training,
            checkpoints=lambda wildcards, output: Path(output.checkpoints[0]).parent,
        shell:
            "exec gradleak federate --plan {params.plan:q} --training {params.training:q}"
            " --checkpoints {params.checkpoints:q} --out {output.accuracy:q} 2> {log:q}"
