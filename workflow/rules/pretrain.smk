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
    priority: lambda wildcards: STUDY.urgency[wildcards.auxiliary]
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


rule show_auxiliaries:
    """Measure the auxiliary models on images that they were not trained on, and draw what they make."""
    input:
        weights=[result("pretrain_auxiliary", name) for name in STUDY.plan.auxiliaries],
        backbone=rules.fetch_lpips.output[0],
        code=STUDY.show_code(),
    output:
        qualities=[f"results/{{study}}/auxiliary/{name}.json" for name in STUDY.plan.shown_auxiliaries],
        sheets=report(
            [f"paper_figures/{{study}}/auxiliary_{name}.png" for name in STUDY.plan.shown_auxiliaries],
            caption="../report/auxiliary.rst",
            category="Auxiliary models",
        ),
    log:
        "results/{study}/logs/show_auxiliaries/{study}.log",
    conda:
        "../../envs/compute.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=grown(8000),
        runtime=grown(20 + 10 * len(STUDY.plan.auxiliaries)),
    params:
        plan=PLAN,
        settings=STUDY.settings,
        folder=lambda wildcards, input: Path(input.weights[0]).parent,
        figures=lambda wildcards, output: Path(output.sheets[0]).parent,
    shell:
        "gradleak pretrain show --plan {params.plan:q} --auxiliaries {params.folder:q} --out {params.figures:q}"
        " 2> {log:q}"
