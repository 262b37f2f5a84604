"""Attacks on the shared updates, and how close they came."""


rule run_attack:
    """Run the attacks of a batch; a killed job goes on from its last saved state."""
    output:
        f"{RESULTS}/reconstructions/{{batch}}.safetensors",
    input:
        plan=ancient(rules.plan.output[0]),
        updates=rules.compute_updates.output[0],
        checkpoints=checkpoints,
        code=lambda wildcards: STUDY.attack_code(wildcards.batch),
    log:
        f"{RESULTS}/logs/run_attack/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/run_attack/{{batch}}.tsv"
    threads: STUDY.threads
    retries: STUDY.retries
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=STUDY.gpus,
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak reconstruct --plan {input.plan} --batch {wildcards.batch} --updates {input.updates}"
        " --checkpoints {RESULTS}/checkpoints --out {output} 2> {log}"


rule score_batch:
    """Match reconstructions to victims and measure them."""
    output:
        shard=f"{RESULTS}/shards/{{batch}}.parquet",
        images=f"{RESULTS}/images/{{batch}}.parquet",
    input:
        plan=ancient(rules.plan.output[0]),
        reconstructions=rules.run_attack.output[0],
        backbone=ancient(rules.fetch_lpips.output[0]),
        code=STUDY.score_code(),
    log:
        f"{RESULTS}/logs/score_batch/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/score_batch/{{batch}}.tsv"
    threads: STUDY.threads
    resources:
        mem_mb=8000,
        runtime=30,
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak score --plan {input.plan} --batch {wildcards.batch} --reconstructions {input.reconstructions}"
        " --out {output.shard} --images {output.images} 2> {log}"
