"""An application that shuffles once and reads that in waves, until its standard input ends.

Takes one argument: a JSON file with
  master             for example local-cluster[2,1,1024]
  conf               Spark configuration
  event_log          directory for the event log
  acquainted         whether each executor knows the directories of the other before the first wave

Executors that may read each other's files on one host ask the service once for the directories, when they need them
first, and do not ask again where that fails: the task fails to fetch (HostLocalDirManager and
BlockStoreClient.getHostLocalDirs, Spark 4.3.0). A service that is away in that moment costs a stage, whoever's it is.

Each wave reads the first shuffle again and writes and reads one of its own. Prints a line for each that begins with
WAVE and its number, and at the end one that begins with RESULT. Both go on in JSON, which says of all that was so far:
  waves              how many there were
  results            the different hashes of what they computed, without the waves that took a block twice
  twice              waves in which a task took a merged block twice
  again              stages with an attempt after the first
  resubmitted        map tasks of the first shuffle that ended well, beyond the first time
  fetch_failures     tasks that ended with FetchFailed
  failures           tasks that ended otherwise than well
  lost               executors that went away before the end

The event log may tell of a wave a little later than its line.

A reader whose connection breaks as it asks for a merged block's metadata is told so twice, and then reads the original
blocks twice (PushBasedFetchHelper and TransportClient, Spark 4.3.0; SPARK-45134): what it computes is wrong, whoever's
the service is. Such a task counts two fallbacks, where it reads one merged block and could have one.
"""

import hashlib
import json
import os
import sys
import threading
import time

from driver import CANARY, WAVE, EventLog, options_and_conf, say, wait_for_executors
from pyspark import SparkContext

MAPS = 8
REDUCES = 16
ROWS = 40000
EXECUTORS = 2
# Larger than what is pushed (spark.shuffle.push.maxBlockSizeToPush), so that it is read from the executor that wrote it.
UNPUSHED = 2 << 20


def main():
    options, conf = options_and_conf("waves", event_log=True)
    sc = SparkContext(conf=conf)
    wait_for_executors(sc)
    if options["acquainted"]:
        acquaint(sc)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    shuffled = sc.parallelize(range(ROWS), MAPS).map(lambda n: (n % 499, CANARY + str(n))).groupByKey(REDUCES)
    log, results = EventLog(options["event_log"], MAPS), []

    def so_far():
        counts = log.summary()
        sound = {results[number] for number in log.ended - log.twice}
        counts.update(waves=len(results), results=sorted(sound), twice=len(log.twice))
        return counts

    while not ended.is_set():
        sc.setJobGroup(WAVE + str(len(results)), "a wave")
        results.append(wave(shuffled))
        say("WAVE %d" % len(results), so_far())
    sc.stop()
    say("RESULT", so_far())


def acquaint(sc):
    """Has each executor read a block of the other's."""

    def executor():
        # The parent of an executor's Python workers.
        return os.getppid()

    def write(number):
        time.sleep(0.5)
        return [(to, (executor(), "x" * UNPUSHED)) for to in range(EXECUTORS)]

    def read(blocks):
        time.sleep(0.5)
        return [(executor(), writer) for _, (writer, _) in blocks]

    met = set()
    while len(met) < EXECUTORS * (EXECUTORS - 1):
        blocks = sc.parallelize(range(EXECUTORS), EXECUTORS).flatMap(write).partitionBy(EXECUTORS, int)
        met.update(pair for pair in blocks.mapPartitions(read).collect() if pair[0] != pair[1])


def wave(shuffled):
    def reduce_slowly(items):
        time.sleep(0.1)
        return [(key % 7, hash_of(values)) for key, values in items]

    lines = shuffled.mapPartitions(reduce_slowly).groupByKey(4).mapValues(hash_of).collect()
    return hash_of(json.dumps(line) for line in lines)


def hash_of(values):
    return hashlib.sha256("\n".join(sorted(values)).encode()).hexdigest()


if __name__ == "__main__":
    main()
