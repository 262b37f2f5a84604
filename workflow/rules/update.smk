"""The victim clients."""


rule compute_updates:
    """Train the victim clients of a batch locally: what the server sees."""
    output:
        temp(f"{RESULTS}/updates/{{batch}}.safetensors"),
    input:
        plan=ancient(rules.plan.output[0]),
        checkpoints=checkpoints,
        code=lambda wildcards: STUDY.update_code(wildcards.batch),
    log:
        f"{RESULTS}/logs/compute_updates/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compute_updates/{{batch}}.tsv"
    threads: STUDY.threads
    resources:
        mem_mb=8000,
        runtime=20,
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak update --plan {input.plan} --batch {wildcards.batch} --checkpoints {RESULTS}/checkpoints"
        " --out {output} 2> {log}"
