"""An application in rounds: in each, one of its two executors writes a part of a shuffle and goes away, and the other one reads
it while something happens to where it lies.

Takes one argument: a JSON file with
  master             a standalone cluster with two Workers of one executor each
  conf               Spark configuration
  event_log          directory for the event log
  passing            directory beneath which executors of the Worker run whose executor goes away
  disk               a local directory of that Worker

Lines on standard input are its commands; each has the number of a round behind it. It answers each with one line that begins with
the word below and the number, and goes on in JSON.

  prepare  READY     both executors have written the shuffle, with a part of it on the disk, and read it; the one that goes away
                     is away. With `result`, and `left`: map outputs that it left
  go       ROUND     the shuffle was read again, another one was written, merged and read, and the first one was removed. With
                     `results`, the different ones of both; `twice`, how many reads took a block twice (waves.py says why), and
                     were done again; and what the event log counted since `prepare`

The end of standard input ends it; the line then begins with RESULT and has `expected`, the result computed without Spark.
"""

import glob
import hashlib
import json
import os
import sys
import time

from driver import CANARY, WAVE, EventLog, options_and_conf, say, wait_for_executors
from pyspark import SparkContext

MAPS = 8
REDUCES = 12
ROWS = 20000
KEYS = 499


def main():
    options, conf = options_and_conf("rounds", event_log=True)
    sc = SparkContext(conf=conf)
    wait_for_executors(sc)
    # What there are by themselves is not counted where the number is lowered.
    sc._jsc.sc().requestExecutors(2)
    rounds = Rounds(sc, options)
    for line in iter(sys.stdin.readline, ""):
        command, number = line.split()
        word, answer = {"prepare": ("READY", rounds.prepare), "go": ("ROUND", rounds.go)}[command]
        say("%s %s" % (word, number), answer())
    sc.stop()
    say("RESULT", {"expected": expected()})


class Rounds:
    def __init__(self, sc, options):
        self.sc, self.options = sc, options
        self.log = EventLog(options["event_log"], MAPS)
        self.jobs = 0
        self.away = False

    def prepare(self):
        if self.away:
            self.sc._jsc.sc().requestExecutors(1)
        wait_for_executors(self.sc)
        self.before = self.log.summary()
        while True:
            self.shuffled = self.shuffle()
            result, _ = self.read(self.shuffled)
            self.number = self.sc._jvm.Ebm.newest()
            if glob.glob("%s/spark-*/executor-*/blockmgr-*/*/shuffle_%d_*_0.data" % (self.options["disk"], self.number)):
                break
        passing = self.passing()
        left = [line for line in self.sc._jvm.Ebm.maps(self.number).splitlines() if "(%s," % passing in line]
        self.sc._jsc.sc().killExecutor(passing)
        self.away = True
        while len(self.sc._jsc.sc().statusTracker().getExecutorInfos()) > 2:
            time.sleep(0.1)
        return {"result": result, "left": len(left)}

    def go(self):
        results, twice = set(), 0
        for shuffled in (self.shuffled, self.shuffle()):
            while True:
                result, sound = self.read(shuffled)
                if sound:
                    break
                twice += 1
            results.add(result)
        self.sc._jsc.sc().cleaner().get().doCleanupShuffle(self.number, False)
        now = self.log.summary()
        counts = {key: now[key] - self.before[key] for key in ("again", "fetch_failures", "failures", "lost")}
        return {"results": sorted(results), "twice": twice, **counts}

    def shuffle(self):
        def write(numbers):
            # So that each executor has its part.
            time.sleep(0.2)
            return [(n % KEYS, CANARY + str(n)) for n in numbers]

        return self.sc.parallelize(range(ROWS), MAPS).mapPartitions(write).groupByKey(REDUCES)

    def read(self, shuffled):
        """What is in it, and whether no block was taken twice."""
        number, self.jobs = self.jobs, self.jobs + 1
        self.sc.setJobGroup(WAVE + str(number), "a read")
        lines = shuffled.map(lambda group: (group[0], hash_of(group[1]))).collect()
        while True:
            self.log.summary()
            if number in self.log.ended:
                break
            time.sleep(0.05)
        return hash_of(json.dumps(line) for line in lines), number not in self.log.twice

    def passing(self):
        """The id of the executor that goes away."""
        for path in glob.glob("/proc/[0-9]*"):
            try:
                with open(path + "/cmdline", "rb") as file:
                    arguments = file.read().decode(errors="replace").split("\0")
                here = os.readlink(path + "/cwd").startswith(self.options["passing"] + "/" + self.sc.applicationId + "/")
            except OSError:
                continue
            if here and "--executor-id" in arguments:
                return arguments[arguments.index("--executor-id") + 1]
        raise RuntimeError("no executor runs beneath " + self.options["passing"])


def hash_of(values):
    return hashlib.sha256("\n".join(sorted(values)).encode()).hexdigest()


def expected():
    groups = {}
    for n in range(ROWS):
        groups.setdefault(n % KEYS, []).append(CANARY + str(n))
    return hash_of(json.dumps((key, hash_of(values))) for key, values in groups.items())


if __name__ == "__main__":
    main()
