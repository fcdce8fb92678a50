"""An application that shuffles once and reads that in waves, until its standard input ends.

Takes one argument: a JSON file with
  master             for example local-cluster[2,1,1024]
  conf               Spark configuration
  event_log          directory for the event log, which is read after the end

Each wave reads the first shuffle again and writes and reads one of its own. Prints one line WAVE for each, with its
number and a hash of what it computed, and at the end one that begins with RESULT and goes on in JSON:
  waves              how many there were
  results            the different hashes
  again              stages with an attempt after the first
  resubmitted        map tasks of the first shuffle that ended well, beyond the first time
  fetch_failures     tasks that ended with FetchFailed
  failures           tasks that ended otherwise than well
  lost               executors that went away before the end
"""

import hashlib
import json
import sys
import threading
import time

from driver import CANARY, events, options_and_conf, say, wait_for_executors
from pyspark import SparkContext

MAPS = 8
REDUCES = 16
ROWS = 40000


def main():
    options, conf = options_and_conf("waves", event_log=True)
    sc = SparkContext(conf=conf)
    wait_for_executors(sc)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    shuffled = sc.parallelize(range(ROWS), MAPS).map(lambda n: (n % 499, CANARY + str(n))).groupByKey(REDUCES)
    results = []
    while not ended.is_set():
        results.append(wave(shuffled))
        print("WAVE %d %s" % (len(results), results[-1]), flush=True)
    sc.stop()
    result = {"waves": len(results), "results": sorted(set(results))}
    result.update(event_log_summary(options["event_log"]))
    say("RESULT", result)


def wave(shuffled):
    def reduce_slowly(items):
        time.sleep(0.1)
        return [(key % 7, hash_of(values)) for key, values in items]

    lines = shuffled.mapPartitions(reduce_slowly).groupByKey(4).mapValues(hash_of).collect()
    return hash_of(json.dumps(line) for line in lines)


def hash_of(values):
    return hashlib.sha256("\n".join(sorted(values)).encode()).hexdigest()


def event_log_summary(directory):
    """What was done more than once, in all stages, and what failed."""
    again, fetch_failures, failures, lost, first_maps = 0, 0, 0, 0, 0
    first = None
    for event in events(directory):
        kind = event["Event"]
        if kind == "SparkListenerStageSubmitted":
            info = event["Stage Info"]
            again += info["Stage Attempt ID"] > 0
            first = info["Stage ID"] if first is None else first
        elif kind == "SparkListenerTaskEnd":
            reason = event["Task End Reason"]["Reason"]
            fetch_failures += reason == "FetchFailed"
            failures += reason != "Success"
            first_maps += reason == "Success" and event["Stage ID"] == first
        elif kind == "SparkListenerExecutorRemoved":
            lost += 1
    return {
        "again": again,
        "resubmitted": first_maps - MAPS,
        "fetch_failures": fetch_failures,
        "failures": failures,
        "lost": lost,
    }


if __name__ == "__main__":
    main()
