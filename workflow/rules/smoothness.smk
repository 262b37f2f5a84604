"""How smoothly the gradients of the attacked models follow the victims' images: IGSA."""


rule measure_smoothness:
    """Measure the cells of a batch that ask for it; a killed job goes on with the next cell."""
    input:
        data=datasets,
        checkpoints=checkpoints,
        code=lambda wildcards: STUDY.smoothness_code(wildcards.batch),
    output:
        result("measure_smoothness", "{batch}"),
    log:
        f"{RESULTS}/logs/measure_smoothness/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_smoothness/{{batch}}.tsv"
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=minutes("measure_smoothness", "batch"),
        gpu=STUDY.gpus,
    params:
        plan=PLAN,
        settings=STUDY.settings,
        checkpoints=f"{RESULTS}/checkpoints",
    shell:
        "exec gradleak smoothness --plan {params.plan:q} --batch {wildcards.batch:q} --checkpoints {params.checkpoints:q}"
        " --out {output:q} 2> {log:q}"
