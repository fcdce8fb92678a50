"""A job in phases, with the time and the processors that each took.

Takes one argument: a JSON file with
  master             for example local-cluster[4,1,1024]
  conf               Spark configuration
  event_log          directory for the event log, which is not written
  executors          how many there are
  rows               of a kilobyte each, in the shuffle
  partitions         of each shuffle
  tables             directory with the tables of TPC-H and its queries (tables.py)
  small_tables       another one, for the warm-up
  queries            numbers of those that are run

Phases: warm-up, the same with small tables and a twentieth of the rows; queries, those of TPC-H; repartition, rows that Spark
is told not to compress, of which nearly all bytes are shuffled. Each row carries a canary.

Prints a line that begins with PHASE and a name before each, which waits for a line on standard input, and at the end one that
begins with RESULT and goes on in JSON:
  phases             name, seconds, and the seconds of processors of executors (with their Python) and of the driver
  digest             of all that was computed
"""

import hashlib
import json
import os
import sys
import time

from driver import CANARY, options_and_conf, queries, say
from pyspark.sql import SparkSession

TICK = os.sysconf("SC_CLK_TCK")


def main():
    options, conf = options_and_conf("jobs")
    session = SparkSession.builder.config(conf=conf).getOrCreate()
    context = session.sparkContext
    while len(context._jsc.sc().statusTracker().getExecutorInfos()) < options["executors"] + 1:
        time.sleep(0.1)
    phases, results = [], []
    for name, run in [
        ("warm-up", lambda: (queries(session, options["small_tables"], options["queries"]), repartition(session, options, options["rows"] // 20))),
        ("queries", lambda: queries(session, options["tables"], options["queries"])),
        ("repartition", lambda: repartition(session, options, options["rows"])),
    ]:
        print("PHASE " + name, flush=True)
        sys.stdin.readline()
        before, began = processors(), time.monotonic()
        results.append(run())
        seconds, after = time.monotonic() - began, processors()
        phases.append({"name": name, "seconds": seconds,
                       "executors": after[0] - before[0], "driver": after[1] - before[1]})
    print("PHASE end", flush=True)
    sys.stdin.readline()
    session.stop()
    digest = hashlib.sha256(json.dumps(results, default=str).encode()).hexdigest()
    say("RESULT", {"phases": phases, "digest": digest})


def repartition(session, options, rows):
    # Put together by Spark: the text of this goes to the JVM over loopback, where the tap is.
    canary = "concat('%s', '%s')" % (CANARY[:9], CANARY[9:])
    pad = session.range(0, rows, 1, options["partitions"]).selectExpr("id", "rpad(string(id), 1000, %s) AS pad" % canary)
    spread = pad.repartition(options["partitions"], "id")
    return [list(row) for row in spread.selectExpr("sum(xxhash64(id, pad) % 1000003)", "count(*)").collect()]


def processors():
    """Seconds of processors so far, of executors with all that they started, and of this program with its JVM."""
    parents, took, executors = {}, {}, set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % entry) as file:
                fields = file.read().rsplit(")", 1)[1].split()
            with open("/proc/%s/cmdline" % entry, "rb") as file:
                line = file.read()
        except OSError:
            continue
        process = int(entry)
        parents[process] = int(fields[1])
        # Its own, and of children that it has waited for.
        took[process] = sum(int(field) for field in fields[11:15]) / TICK
        if b"CoarseGrainedExecutorBackend" in line:
            executors.add(process)
    own = os.getpid()
    totals = [0.0, 0.0]
    for process in took:
        above = [process]
        while above[-1] in parents and above[-1] != own:
            above.append(parents[above[-1]])
        if above[-1] == own:
            totals[0 if executors.intersection(above) else 1] += took[process]
    return totals


if __name__ == "__main__":
    main()
