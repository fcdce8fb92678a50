"""A Spark application for YARN and Kubernetes: rounds of the same query, in SQL alone, so that executors need no Python.

Takes one argument: a JSON file, or its text, with
  rows               rows of generated data
  rounds             how often the query is computed; each time all of its shuffles are written and read
  tables, queries    directory of tables.py, and the numbers of TPC-H's queries that a round is in the place of the query; or neither
  alone              whether each round is collected again from its shuffles when no executor is left
  hold               file, made at the start, until whose end the application stays, with its shuffles, after its rounds; or
                     null
  between            file, made at the start, until whose end each round that is collected again waits before that; or null
  event_log          directory of the event log, which is made, and read after the end
  report             file for the report; or null

Prints a line that begins with SECRET and goes on with the application's secret, and one that begins with ROUND and its number
after each round. A round that waits prints ALONE and its number. Without a file for it the report follows the word REPORT. It is
JSON:
  app                the application's id
  results            the different hashes of what the rounds computed
  canary_rows        rows of the last round whose text still holds the canary
  again              stages with an attempt after the first
  fetch_failures     tasks that ended with FetchFailed
  failures           tasks that ended otherwise than well
  lost               executors that went away before the end
  map_tasks          tasks of map stages that ended well
  tasks              host -> tasks that ended well on it
  remote             shuffle bytes that tasks read from other hosts, merged or not
  read               as in application.py
"""

import hashlib
import json
import os
import sys
import time

from driver import CANARY, NO_READS, add_reads, events, queries
from pyspark.sql import SparkSession, functions as F

MAPS = 12


def main():
    options = told(sys.argv[1])
    os.makedirs(options["event_log"], exist_ok=True)
    for path in filter(None, (options["hold"], options["between"])):
        open(path, "a").close()
    spark = SparkSession.builder.getOrCreate()
    app = spark.sparkContext.applicationId
    print("SECRET " + secret(spark.sparkContext), flush=True)
    results, canaries = set(), 0
    for number in range(options["rounds"]):
        if options.get("tables"):
            results.add(answers(spark, options["tables"], options["queries"]))
            print("ROUND %d" % (number + 1), flush=True)
            continue
        rows = query(spark, options["rows"])
        result, canaries = collected(rows)
        results.add(result)
        if options["alone"]:
            wait_for_no_executor(spark.sparkContext)
            print("ALONE %d" % (number + 1), flush=True)
            wait_for_end_of(options["between"])
            results.add(collected(rows)[0])
        print("ROUND %d" % (number + 1), flush=True)
    wait_for_end_of(options["hold"])
    spark.stop()
    report = {"app": app, "results": sorted(results), "canary_rows": canaries}
    report.update(summary(options["event_log"]))
    if not options["report"]:
        print("REPORT " + json.dumps(report), flush=True)
        return
    partial = options["report"] + ".partial"
    with open(partial, "w") as file:
        json.dump(report, file)
    os.rename(partial, options["report"])


def told(argument):
    if argument.startswith("{"):
        return json.loads(argument)
    with open(argument) as file:
        return json.load(file)


def wait_for_end_of(path):
    while path and os.path.exists(path):
        time.sleep(0.1)


def query(spark, rows):
    """A sort-merge join and an aggregation: three shuffles, with text that does not compress in two of them."""
    text = F.concat(F.lit(CANARY), F.sha2(F.col("id").cast("string"), 256))
    left = spark.range(0, rows, 1, MAPS).select((F.col("id") % 977).alias("k"), text.alias("l"), "id")
    right = spark.range(0, 977, 1, 3).select(F.col("id").alias("k"), text.alias("r"))
    joined = left.hint("merge").join(right.hint("merge"), "k")
    return joined.groupBy((F.col("id") % 1009).alias("g")).agg(
        F.count("*").alias("n"),
        F.sum("k").alias("s"),
        F.max("l").alias("l"),
        F.sum(F.length("r")).alias("c"),
        F.sum(F.when(F.col("r").startswith(CANARY), 1).otherwise(0)).alias("canaries"),
    )


def answers(spark, tables, numbers):
    """The hash of what queries of TPC-H answer."""
    return hashlib.sha256(json.dumps(queries(spark, tables, numbers)).encode()).hexdigest()


def collected(rows):
    """The hash of the rows, and how many rows still hold their canary."""
    lines = sorted(json.dumps(row.asDict(), sort_keys=True) for row in rows.collect())
    canaries = sum(json.loads(line)["canaries"] for line in lines)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest(), canaries


def secret(sc):
    """What YARN keeps for the application (SecurityManager.SECRET_LOOKUP_KEY, Spark 4.3.0); nothing elsewhere."""
    hadoop = sc._jvm.org.apache.hadoop
    credentials = hadoop.security.UserGroupInformation.getCurrentUser().getCredentials()
    return bytes(credentials.getSecretKey(hadoop.io.Text("sparkCookie")) or b"").decode()


def wait_for_no_executor(sc):
    while len(sc._jsc.sc().statusTracker().getExecutorInfos()) > 1:
        time.sleep(0.1)


def summary(event_log):
    counts = dict.fromkeys(["again", "fetch_failures", "failures", "lost", "map_tasks", "remote"], 0)
    tasks, read = {}, dict(NO_READS)
    for event in events(event_log):
        kind = event["Event"]
        if kind == "SparkListenerStageSubmitted":
            counts["again"] += event["Stage Info"]["Stage Attempt ID"] > 0
        elif kind == "SparkListenerExecutorRemoved":
            counts["lost"] += 1
        elif kind == "SparkListenerTaskEnd":
            reason = event["Task End Reason"]["Reason"]
            counts["fetch_failures"] += reason == "FetchFailed"
            counts["failures"] += reason != "Success"
            counts["map_tasks"] += reason == "Success" and event["Task Type"] == "ShuffleMapTask"
            metrics = (event.get("Task Metrics") or {}).get("Shuffle Read Metrics", {})
            counts["remote"] += metrics.get("Remote Bytes Read", 0)
            add_reads(read, metrics)
            host = event["Task Info"]["Host"]
            tasks[host] = tasks.get(host, 0) + (reason == "Success")
    counts.update(tasks=tasks, read=read)
    return counts


if __name__ == "__main__":
    main()
