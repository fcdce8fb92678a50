"""What the programs of this directory share on the driver's side. Executors do not see it."""

import glob
import json
import os
import sys
import time

from pyspark import SparkConf

CANARY = "CANARY-thrush-in-the-hedge-"


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


def wait_for_executors(sc):
    """Until there are two, and the driver."""
    while len(sc._jsc.sc().statusTracker().getExecutorInfos()) < 3:
        time.sleep(0.1)


def say(word, result):
    print(word + " " + json.dumps(result), flush=True)
