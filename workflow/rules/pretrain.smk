"""What adversaries learn from public images before they attack."""


rule pretrain_auxiliary:
    """Train a generator or an enhancement network; a killed job goes on from its last saved state."""
    input:
        data=lambda wildcards: result("fetch_data", STUDY.plan.auxiliaries[wildcards.auxiliary].dataset.name),
        code=lambda wildcards: STUDY.pretrain_code(wildcards.auxiliary),
    output:
        result("pretrain_auxiliary", "{auxiliary}"),
    log:
        f"{RESULTS}/logs/pretrain_auxiliary/{{auxiliary}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pretrain_auxiliary/{{auxiliary}}.tsv"
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=grown(8000),
        runtime=minutes("pretrain_auxiliary", "auxiliary"),
        gpu=STUDY.gpus,
    params:
        plan=PLAN,
        settings=STUDY.settings,
    shell:
        "exec gradleak pretrain run --plan {params.plan:q} --auxiliary {wildcards.auxiliary:q}"
        " --out {output:q} 2> {log:q}"


rule show_auxiliary:
    """Measure an auxiliary model on images that it was not trained on, and draw what it makes."""
    input:
        weights=rules.pretrain_auxiliary.output[0],
        backbone=rules.fetch_lpips.output[0],
        code=lambda wildcards: STUDY.pretrain_code(wildcards.auxiliary),
    output:
        quality=f"{RESULTS}/auxiliary/{{title}}_{{auxiliary}}.json",
        sheet=report(
            f"{FIGURES}/auxiliary_{{title}}_{{auxiliary}}.png",
            caption="../report/auxiliary.rst",
            category="Auxiliary models",
        ),
    log:
        f"{RESULTS}/logs/show_auxiliary/{{title}}_{{auxiliary}}.log",
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=grown(8000),
        runtime=grown(30),
    params:
        plan=PLAN,
        settings=STUDY.settings,
        folder=lambda wildcards, input: Path(input.weights).parent,
    shell:
        "gradleak pretrain show --plan {params.plan:q} --auxiliary {wildcards.auxiliary:q}"
        " --weights {params.folder:q} --out {output.quality:q} --sheet {output.sheet:q} 2> {log:q}"
