#!/bin/sh
# Writes the vectors of one Spark release: JARS=<pyspark>/jars ./run.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${JARS:?set JARS to the jars directory of an unpacked PySpark}"
exec java -cp "$JARS/*" "$here/Vectors.java" "${1:-$here/..}"
