"""Makes the kind `table` known."""

from gradleak.tables.spec import PRESENTATIONS
from gradleak.tables.table import Table

PRESENTATIONS.register("table")(Table)
