"""The paper's claims, judged by the study's results, and its numbers beside ours."""

from gradleak.claims.report import FILES as CLAIM_FILES


rule claims:
    """Judge every claim of the ledger; set every published number beside ours."""
    input:
        results=rules.collect_results.output[0],
        theory=rules.theory.output,
        code=STUDY.claim_code(),
    output:
        report(
            expand(f"{FIGURES}/{{name}}", name=CLAIM_FILES),
            caption="../report/claims.rst",
            category="Claims",
        ),
    log:
        f"{RESULTS}/logs/claims.log",
    conda:
        "../../envs/report.yaml"
    params:
        plan=PLAN,
        planned=lambda wildcards: STUDY.digest,
        theory=lambda wildcards, input: Path(input.theory[0]).parent,
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "gradleak claims --plan {params.plan:q} --results {input.results:q} --csv {params.theory:q}"
        " --out {params.folder:q} > {log:q} 2>&1"
