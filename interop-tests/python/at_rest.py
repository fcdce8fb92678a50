"""An application whose shuffle files and a cached block stay on disk until it is told to end.

Takes one argument: a JSON file with master and conf. Prints one line that begins with READY and goes on in JSON:
  app       application id
  key       the key of spark.io.encryption in hexadecimal, or null where it is off
  cached    names of the blocks of an RDD that is persisted on disk
  result    what was computed, as text
Ends when its standard input ends.
"""

import sys

from driver import CANARY, options_and_conf, say
from pyspark import StorageLevel
from pyspark.sql import SparkSession, functions as F



def main():
    _, conf = options_and_conf("at-rest")
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    sc = spark.sparkContext
    rows = spark.range(0, 8000, 1, 4).select("id", F.concat(F.lit(CANARY), F.col("id").cast("string")).alias("text"))
    hashed = rows.repartition(6, "id").select(F.sum(F.crc32("text"))).collect()[0][0]
    pairs = sc.parallelize(range(4000), 4).map(lambda n: (n % 97, CANARY + str(n)))
    grouped = sorted(pairs.groupByKey(5).mapValues(len).collect())
    cached = sc.parallelize(range(4000), 4).map(lambda n: CANARY + str(n)).persist(StorageLevel.DISK_ONLY)
    count = cached.count()
    key = None
    if conf.get("spark.io.encryption.enabled", "false") == "true":
        key = bytes(sc._jvm.IoStreams.key()).hex()
    ready = {
        "app": sc.applicationId,
        "key": key,
        "cached": ["rdd_%d_%d" % (cached.id(), n) for n in range(4)],
        "result": "%d %s %d" % (hashed, grouped, count),
    }
    say("READY", ready)
    sys.stdin.read()
    spark.stop()


if __name__ == "__main__":
    main()
