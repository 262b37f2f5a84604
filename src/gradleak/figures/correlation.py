"""Makes the kind `correlation` known."""

from gradleak.tables.correlation import CorrelationTable
from gradleak.tables.spec import PRESENTATIONS

PRESENTATIONS.register("correlation")(CorrelationTable)
