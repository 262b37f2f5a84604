"""The paper's claims, judged by the study's results, and its numbers beside ours."""

from gradleak.claims.report import FILES as CLAIM_FILES


rule claims:
    """Judge every claim of the ledger; set every published number beside ours."""
    input:
        plan=PLAN,
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
        theory=lambda wildcards, input: Path(input.theory[0]).parent,
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "gradleak claims --plan {input.plan} --results {input.results} --csv {params.theory} --out {params.folder}"
        " > {log} 2>&1"
