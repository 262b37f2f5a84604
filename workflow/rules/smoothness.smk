"""How smoothly the gradients of the attacked models follow the victims' images: IGSA."""


rule measure_smoothness:
    """Measure the cells of a batch that ask for it; a killed job goes on with the next cell."""
    input:
        plan=ancient(PLAN),
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
        checkpoints=lambda wildcards, input: Path(input.checkpoints[0]).parent,
    shell:
        "exec gradleak smoothness --plan {input.plan} --batch {wildcards.batch} --checkpoints {params.checkpoints}"
        " --out {output} 2> {log}"
