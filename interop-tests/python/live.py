"""An application that stays alive with blocks of every kind in its executors, for clients that fetch from them.

Takes one argument: a JSON file with master and conf. Prints one line that begins with READY and goes on in JSON:
  app                application id
  driver             address of the driver's block manager, host:port
  executors          executor id -> address of its block manager
  maps               list of {map, executor} of shuffle 0, which has 3 partitions
  rdd_disk, rdd_memory   {block, executor} of a persisted block
  broadcast          id of a broadcast value of the driver, piece 0
Ends when its standard input ends.
"""

import re
import sys

from driver import CANARY, options_and_conf, say, wait_for_executors
from pyspark import SparkContext, StorageLevel



def main():
    _, conf = options_and_conf("live")
    sc = SparkContext(conf=conf)
    wait_for_executors(sc)
    ebm = sc._jvm.Ebm
    sc.parallelize(range(300), 4).map(lambda n: (n % 30, CANARY + str(n))).groupByKey(3).count()
    disk = sc.parallelize(range(4000), 4).map(lambda n: CANARY + str(n)).persist(StorageLevel.DISK_ONLY)
    disk.count()
    memory = sc.parallelize(range(4000), 4).map(lambda n: CANARY + str(n)).persist(StorageLevel.MEMORY_ONLY)
    memory.count()
    broadcast = sc.broadcast([CANARY] * 1000)
    maps = []
    for line in ebm.maps(0).splitlines():
        maps.append({"map": int(line.split()[0]), "executor": manager(line)[0]})
    blocks = {name: "rdd_%d_0" % rdd.id() for name, rdd in (("rdd_disk", disk), ("rdd_memory", memory))}
    located = {name: {"block": block, "executor": manager(ebm.where(block))[0]} for name, block in blocks.items()}
    executors = {}
    for text in [ebm.maps(0)] + [ebm.where("rdd_%d_%d" % (rdd.id(), n)) for rdd in (disk, memory) for n in range(4)]:
        for executor, address in managers(text):
            executors[executor] = address
    ready = {
        "app": sc.applicationId,
        "driver": manager(ebm.driver())[1],
        "executors": executors,
        "maps": maps,
        "broadcast": broadcast._jbroadcast.id(),
    }
    ready.update(located)
    say("READY", ready)
    sys.stdin.read()
    sc.stop()


def managers(text):
    """All BlockManagerId(executor, host, port, …) in a text."""
    return [(m[0], m[1] + ":" + m[2]) for m in re.findall(r"BlockManagerId\((\w+), ([^,]+), (\d+)", text)]


def manager(text):
    return managers(text)[0]


if __name__ == "__main__":
    main()
