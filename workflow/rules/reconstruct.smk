"""Attacks on the shared updates, and how close they came."""


rule reconstruct_batch:
    """Run the attacks of a batch; a killed job goes on from its last saved state."""
    input:
        updates=rules.compute_updates.output[0],
        checkpoints=checkpoints,
        auxiliaries=auxiliaries,
        code=lambda wildcards: STUDY.reconstruct_code(wildcards.batch),
    output:
        result("reconstruct_batch", "{batch}"),
    log:
        f"{RESULTS}/logs/reconstruct_batch/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/reconstruct_batch/{{batch}}.tsv"
    priority: lambda wildcards: STUDY.urgency[wildcards.batch]
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=minutes("reconstruct_batch", "batch"),
        gpu=STUDY.gpus,
    params:
        plan=PLAN,
        settings=STUDY.settings,
        checkpoints=f"{RESULTS}/checkpoints",
        auxiliaries=f"{RESULTS}/auxiliary",
    shell:
        "exec gradleak reconstruct --plan {params.plan:q} --batch {wildcards.batch:q} --updates {input.updates:q}"
        " --checkpoints {params.checkpoints:q} --auxiliaries {params.auxiliaries:q} --out {output:q} 2> {log:q}"


rule score_batch:
    """Match reconstructions to victims and measure them."""
    input:
        reconstructions=rules.reconstruct_batch.output[0],
        backbone=rules.fetch_lpips.output[0],
        code=STUDY.score_code(),
    output:
        shard=result("score_batch", "{batch}"),
        images=f"{RESULTS}/images/{{batch}}.parquet",
    log:
        f"{RESULTS}/logs/score_batch/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/score_batch/{{batch}}.tsv"
    priority: 1000000  # before any attack: it takes seconds, and an experiment may be finished with it
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=grown(8000),
        runtime=grown(30),
    params:
        plan=PLAN,
        settings=STUDY.settings,
    shell:
        "gradleak score --plan {params.plan:q} --batch {wildcards.batch:q}"
        " --reconstructions {input.reconstructions:q} --out {output.shard:q} --images {output.images:q} 2> {log:q}"
