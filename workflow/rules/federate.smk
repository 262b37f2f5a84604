"""Checkpoints of the global model."""

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
            checkpoints=[weights(name) for name in STUDY.plan.trainings[_training]],
        log:
            f"{RESULTS}/logs/federate_training/{_training}.log",
        benchmark:
            f"{RESULTS}/benchmarks/federate_training/{_training}.tsv"
        priority: max(STUDY.urgency[name] for name in STUDY.plan.trainings[_training])
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
