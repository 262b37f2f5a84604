"""Checkpoints of the global model."""


rule train_checkpoint:
    """Write the global model of a federated round."""
    output:
        f"{RESULTS}/checkpoints/{{checkpoint}}.safetensors",
    input:
        plan=ancient(rules.plan.output[0]),
        data=lambda wildcards: f"{RESULTS}/data/{STUDY.checkpoint_cell(wildcards.checkpoint).dataset.name}.json",
        code=lambda wildcards: STUDY.train_code(wildcards.checkpoint),
    log:
        f"{RESULTS}/logs/train_checkpoint/{{checkpoint}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_checkpoint/{{checkpoint}}.tsv"
    threads: STUDY.threads
    resources:
        mem_mb=4000,
        runtime=10,
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak train --plan {input.plan} --checkpoint {wildcards.checkpoint} --out {output} 2> {log}"
