"""Checkpoints of the global model."""


rule train_checkpoint:
    """Write the global model of a federated round."""
    input:
        plan=ancient(PLAN),
        data=lambda wildcards: f"{RESULTS}/data/{STUDY.checkpoint_cell(wildcards.checkpoint).dataset.name}.json",
        code=lambda wildcards: STUDY.train_code(wildcards.checkpoint),
    output:
        f"{RESULTS}/checkpoints/{{checkpoint}}.safetensors",
    log:
        f"{RESULTS}/logs/train_checkpoint/{{checkpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_checkpoint/{{checkpoint}}.tsv"
    conda:
        "../../envs/gradleak.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=4000,
        runtime=10,
    shell:
        "gradleak train --plan {input.plan} --checkpoint {wildcards.checkpoint} --out {output} 2> {log}"
