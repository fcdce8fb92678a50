"""What the programs of this directory share on the driver's side. Executors do not see it."""

import glob
import json
import os
import sys
import time

from pyspark import SparkConf

CANARY = "CANARY-thrush-in-the-hedge-"
# Job groups of waves begin so.
WAVE = "wave "
# What add_reads adds to.
NO_READS = dict.fromkeys(["merged_local", "merged_remote", "unmerged", "fallbacks"], 0)


def options_and_conf(name, event_log=False):
    """The JSON file that the first argument names, and the configuration in it; with `event_log` the log is written."""
    with open(sys.argv[1]) as file:
        options = json.load(file)
    conf = SparkConf().setMaster(options["master"]).setAppName(name)
    for key, value in options["conf"].items():
        conf.set(key, value)
    if event_log:
        conf.set("spark.eventLog.enabled", "true").set("spark.eventLog.dir", "file:" + options["event_log"])
        conf.set("spark.eventLog.compress", "false").set("spark.eventLog.rolling.enabled", "false")
    return options, conf


def events(directory):
    """All events of the log, in order."""
    for path in glob.glob(directory + "/**/*", recursive=True):
        if not os.path.isfile(path):
            continue
        with open(path, errors="replace") as file:
            for line in file:
                yield json.loads(line)


def add_reads(read, metrics):
    """Counts what a task read by its metrics (JsonProtocol, Spark 3.5 and later tell of merged blocks)."""
    merged = metrics.get("Push Based Shuffle", {})
    local, remote = (merged.get("Merged %s Bytes Read" % place, 0) for place in ("Local", "Remote"))
    everything = metrics.get("Local Bytes Read", 0) + metrics.get("Remote Bytes Read", 0)
    read["merged_local"] += local
    read["merged_remote"] += remote
    read["unmerged"] += everything - local - remote
    read["fallbacks"] += merged.get("Merged Fetch Fallback Count", 0)


def wait_for_executors(sc):
    """Until there are two, and the driver."""
    while len(sc._jsc.sc().statusTracker().getExecutorInfos()) < 3:
        time.sleep(0.1)


def queries(session, directory, numbers):
    """The answers to queries of TPC-H, from a directory that tables.py has made."""
    for path in glob.glob(directory + "/*.parquet"):
        session.read.parquet("file:" + path).createOrReplaceTempView(os.path.basename(path).removesuffix(".parquet"))
    with open(directory + "/queries.json") as file:
        texts = dict(json.load(file))
    answers = []
    for number in numbers:
        rows = session.sql(texts[number].rstrip().rstrip(";")).collect()
        answers.append([number, [[str(value) for value in row] for row in rows]])
    return answers


def say(word, result):
    print(word + " " + json.dumps(result), flush=True)


class EventLog:
    """What was done more than once, in all stages, and what failed; read on where the last summary ended."""

    def __init__(self, directory, maps):
        # Opened once: it is renamed at the end.
        (path,) = [path for path in glob.glob(directory + "/*") if os.path.isfile(path)]
        self.file = open(path, errors="replace")
        self.maps = maps
        self.begun = ""
        self.first = None
        # By number: the wave of a job and of a stage, those that have ended, those that took a block twice.
        self.of_job, self.of_stage, self.ended, self.twice = {}, {}, set(), set()
        self.counts = dict.fromkeys(["again", "resubmitted", "fetch_failures", "failures", "lost"], 0)

    def summary(self):
        *lines, self.begun = (self.begun + self.file.read()).split("\n")
        for line in lines:
            self.take(json.loads(line))
        counts = dict(self.counts)
        counts["resubmitted"] -= self.maps
        return counts

    def take(self, event):
        kind, counts = event["Event"], self.counts
        if kind == "SparkListenerJobStart":
            group = event["Properties"].get("spark.jobGroup.id", "")
            if group.startswith(WAVE):
                wave = int(group.removeprefix(WAVE))
                self.of_job[event["Job ID"]] = wave
                self.of_stage.update(dict.fromkeys(event["Stage IDs"], wave))
        elif kind == "SparkListenerJobEnd":
            if event["Job ID"] in self.of_job:
                self.ended.add(self.of_job[event["Job ID"]])
        elif kind == "SparkListenerStageSubmitted":
            info = event["Stage Info"]
            counts["again"] += info["Stage Attempt ID"] > 0
            if self.first is None and info["Number of Tasks"] == self.maps:
                self.first = info["Stage ID"]
        elif kind == "SparkListenerTaskEnd":
            reason = event["Task End Reason"]["Reason"]
            counts["fetch_failures"] += reason == "FetchFailed"
            counts["failures"] += reason != "Success"
            counts["resubmitted"] += reason == "Success" and event["Stage ID"] == self.first
            if fallbacks(event) > 1 and event["Stage ID"] in self.of_stage:
                self.twice.add(self.of_stage[event["Stage ID"]])
        elif kind == "SparkListenerExecutorRemoved":
            counts["lost"] += 1


def fallbacks(task_end):
    """How often a task took original blocks in the place of merged ones."""
    read = (task_end.get("Task Metrics") or {}).get("Shuffle Read Metrics", {})
    return read.get("Push Based Shuffle", {}).get("Merged Fetch Fallback Count", 0)
