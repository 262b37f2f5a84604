"""Makes the kind `contrast` known."""

from gradleak.tables.contrast import ContrastTable
from gradleak.tables.spec import PRESENTATIONS

PRESENTATIONS.register("contrast")(ContrastTable)
