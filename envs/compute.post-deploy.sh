# Snakemake runs this in the new environment, from the root of the checkout: the package itself, its needs are pinned.
python -m pip install --quiet --no-deps --editable .
