"""Data sets, the LPIPS backbone and the plan: what jobs need before they start."""


rule plan:
    """Write the plan that every later stage reads; its batches are named by their content."""
    output:
        f"{RESULTS}/plan.json",
    params:
        content=STUDY.digest,
    run:
        STUDY.plan.write(Path(output[0]))


rule fetch_lpips:
    """Fetch and verify the AlexNet backbone of LPIPS from a package, once."""
    output:
        STUDY.backbone,
    log:
        "results/logs/fetch_lpips.log",
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak data fetch lpips --cache {STUDY.cache} 2> {log}"


rule fetch_data:
    """Fetch a data set where its source can be downloaded, verify it, and record what it is."""
    output:
        f"{RESULTS}/data/{{dataset}}.json",
    input:
        plan=ancient(rules.plan.output[0]),
        code=STUDY.data_code(),
    log:
        f"{RESULTS}/logs/fetch_data/{{dataset}}.log",
    conda:
        "../../envs/gradleak.yaml"
    shell:
        "gradleak data record {wildcards.dataset} --plan {input.plan} --out {output} 2> {log}"
