"""The victim clients."""


rule compute_updates:
    """Train the victim clients of a batch locally: what the server sees."""
    input:
        data=datasets,
        checkpoints=checkpoints,
        code=lambda wildcards: STUDY.update_code(wildcards.batch),
    output:
        temp(result("compute_updates", "{batch}")),
    log:
        f"{RESULTS}/logs/compute_updates/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compute_updates/{{batch}}.tsv"
    priority: lambda wildcards: STUDY.urgency[wildcards.batch]
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=grown(8000),
        runtime=grown(20),
    params:
        plan=PLAN,
        settings=STUDY.settings,
        checkpoints=f"{RESULTS}/checkpoints",
    shell:
        "gradleak update --plan {params.plan:q} --batch {wildcards.batch:q} --checkpoints {params.checkpoints:q}"
        " --out {output:q} 2> {log:q}"
