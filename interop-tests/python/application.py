"""A Spark application whose whole result is one hash, so that runs can be compared.

Takes one argument: a JSON file with
  master             for example local-cluster[2,1,1024] or spark://127.0.0.1:7077
  conf               Spark configuration
  rows               rows of generated data
  kill_executor      kill one executor with SIGKILL as soon as the RDD job's reduce stage has finished a task
  event_log          directory for the event log, which is read after the end

Prints one line that begins with RESULT and goes on in JSON:
  app                the application's id
  result             SHA-256 over everything computed
  canary_rows        rows whose text still holds the canary
  killed             process id of the executor killed, or null
  map_tasks          partitions of the RDD job's map stage
  map_successes      tasks of that stage that ended well: more than map_tasks if it was computed again
  map_attempts       attempts of that stage
  fetch_failures     tasks of any stage that ended with FetchFailed
  read               shuffle bytes that tasks read: merged_local from files that they opened themselves, merged_remote from
                     the merger, unmerged; and fallbacks, how often a merged block was read unmerged in the end
"""

import glob
import hashlib
import json
import os
import signal
import threading
import time

from driver import CANARY, NO_READS, add_reads, events, options_and_conf, say
from pyspark import StorageLevel
from pyspark.sql import SparkSession, functions as F

MAPS = 4
REDUCES = 8


def main():
    options, conf = options_and_conf("interop", event_log=True)
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    digest = hashlib.sha256()
    canary_rows = sql_job(spark, options["rows"], digest)
    killed = rdd_job(spark.sparkContext, options["rows"], options["kill_executor"], digest)
    persisted_job(spark.sparkContext, digest)
    app = spark.sparkContext.applicationId
    spark.stop()
    result = {"app": app, "result": digest.hexdigest(), "canary_rows": canary_rows, "killed": killed}
    result.update(event_log_summary(options["event_log"]))
    say("RESULT", result)


def sql_job(spark, rows, digest):
    """A sort-merge join and an aggregation: two shuffles, text with canaries in both."""
    text = F.concat(F.lit(CANARY), F.col("id").cast("string"))
    left = spark.range(0, rows, 1, MAPS).select((F.col("id") % 977).alias("k"), text.alias("l"), "id")
    right = spark.range(0, 977, 1, 3).select(F.col("id").alias("k"), text.alias("r"))
    joined = left.hint("merge").join(right.hint("merge"), "k")
    grouped = joined.groupBy((F.col("id") % 101).alias("g")).agg(
        F.count("*").alias("n"),
        F.sum("k").alias("s"),
        F.max("l").alias("l"),
        F.sum(F.length("r")).alias("c"),
        F.sum(F.when(F.col("r").startswith(CANARY), 1).otherwise(0)).alias("canaries"),
    )
    lines = sorted(json.dumps(row.asDict(), sort_keys=True) for row in grouped.collect())
    digest.update("\n".join(lines).encode())
    return sum(json.loads(line)["canaries"] for line in lines)


def rdd_job(sc, rows, kill, digest):
    """groupByKey, then sortByKey over the result. With `kill`, one executor dies while the reduce stage runs."""
    pairs = sc.parallelize(range(rows // 10), MAPS).map(lambda n: (n % 499, CANARY + str(n)))
    grouped = pairs.groupByKey(REDUCES)
    killed = []
    watcher = None
    if kill:
        watcher = threading.Thread(target=kill_when_reducing, args=(sc, killed), daemon=True)
        watcher.start()

    def reduce_slowly(items):
        time.sleep(0.5 if kill else 0)
        return [(key, len(list(values)), hash_of(values)) for key, values in items]

    reduced = grouped.mapPartitions(reduce_slowly).collect()
    if watcher:
        watcher.join(30)
    digest.update(json.dumps(sorted(reduced)).encode())
    ordered = sc.parallelize([(line[0], line[2]) for line in reduced], MAPS).sortByKey(numPartitions=4).collect()
    digest.update(json.dumps(ordered).encode())
    return killed[0] if killed else None


def hash_of(values):
    return hashlib.sha256("\n".join(sorted(values)).encode()).hexdigest()


def persisted_job(sc, digest):
    """A disk-persisted RDD read twice."""
    persisted = sc.parallelize(range(20000), MAPS).map(lambda n: CANARY + str(n)).persist(StorageLevel.DISK_ONLY)
    digest.update(str(persisted.count()).encode())
    digest.update(str(persisted.map(len).sum()).encode())
    persisted.unpersist(True)


def kill_when_reducing(sc, killed):
    """Waits for the first finished task of the groupByKey's reduce stage, which has no stage after it but
    one before it, and kills an executor of this very driver."""
    tracker = sc.statusTracker()
    deadline = time.time() + 60
    while time.time() < deadline:
        for stage in tracker.getActiveStageIds():
            info = tracker.getStageInfo(stage)
            if info and info.numTasks == REDUCES and info.numCompletedTasks >= 1:
                executor = executors(sc)[0]
                os.kill(executor, signal.SIGKILL)
                killed.append(executor)
                return
        time.sleep(0.05)


def executors(sc):
    """Process ids of the executors that report to this driver, told by the address of the driver in their arguments."""
    url = "CoarseGrainedScheduler@%s:%s" % (
        sc.getConf().get("spark.driver.host"),
        sc.getConf().get("spark.driver.port"),
    )
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                arguments = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any("CoarseGrainedExecutorBackend" in a for a in arguments) and any(url in a for a in arguments):
            found.append(int(path.split("/")[2]))
    return sorted(found)


def event_log_summary(directory):
    """What happened to the map stage of groupByKey: the stage of MAPS tasks whose shuffle REDUCES tasks read."""
    stages, ended, failures = {}, {}, 0
    read = dict(NO_READS)
    for event in events(directory):
        if event["Event"] == "SparkListenerStageSubmitted":
            info = event["Stage Info"]
            stages.setdefault(info["Stage ID"], []).append(info)
        elif event["Event"] == "SparkListenerTaskEnd":
            reason = event["Task End Reason"]["Reason"]
            add_reads(read, event.get("Task Metrics", {}).get("Shuffle Read Metrics", {}))
            if reason == "Success":
                ended[event["Stage ID"]] = ended.get(event["Stage ID"], 0) + 1
            elif reason == "FetchFailed":
                failures += 1
    reducing = [stage for stage, infos in stages.items() if infos[0]["Number of Tasks"] == REDUCES]
    maps = [
        stage
        for stage, infos in stages.items()
        if reducing and infos[0]["Number of Tasks"] == MAPS and stage in infos_of(stages, reducing[0])["Parent IDs"]
    ]
    if len(maps) != 1:
        return {"map_tasks": MAPS, "map_successes": -1, "map_attempts": -1, "fetch_failures": failures, "read": read}
    return {
        "map_tasks": MAPS,
        "map_successes": ended.get(maps[0], 0),
        "map_attempts": len(stages[maps[0]]),
        "fetch_failures": failures,
        "read": read,
    }


def infos_of(stages, stage):
    return stages[stage][0]


if __name__ == "__main__":
    main()
