"""gradleak: from data to every table and figure of the study that config.yaml names."""

from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/federate.smk"
include: "workflow/rules/update.smk"
include: "workflow/rules/reconstruct.smk"
include: "workflow/rules/smoothness.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/survey.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        OUTPUTS,
        rules.theory.output,
        rules.survey.output,
        rules.claims.output,
        rules.report.output,


onstart:
    try:
        cluster = workflow.executor_settings if workflow.non_local_exec else None
        STUDY.start(Path("results"), Path("paper_figures"), cluster)
    except (UserError, OSError) as error:
        raise WorkflowError(str(error)) from None
    # For `--logger gradleak`, which shows how far the run is.
    work = STUDY.work(workflow.dag.needrun_jobs(), Path("results"))
    logger.info(f"The run's plan: {PLAN}", extra={"work": work, "log_file": next(iter(log), None)})


localrules:
    all,
    fetch_lpips,
    fetch_data,
    collect_results,
    collect_images,
    tables,
    figures,
    theory,
    survey,
    claims,
    report,
