"""The victim clients."""


rule compute_updates:
    """Train the victim clients of a batch locally: what the server sees."""
    input:
        plan=ancient(PLAN),
        data=datasets,
        checkpoints=checkpoints,
        code=lambda wildcards: STUDY.update_code(wildcards.batch),
    output:
        temp(result("compute_updates", "{batch}")),
    log:
        f"{RESULTS}/logs/compute_updates/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compute_updates/{{batch}}.tsv"
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=grown(8000),
        runtime=grown(20),
    params:
        checkpoints=lambda wildcards, input: Path(input.checkpoints[0]).parent,
    shell:
        "gradleak update --plan {input.plan} --batch {wildcards.batch} --checkpoints {params.checkpoints}"
        " --out {output} 2> {log}"
