import org.apache.spark.MapOutputTrackerMaster;
import org.apache.spark.SparkEnv;
import org.apache.spark.scheduler.MapStatus;
import org.apache.spark.storage.BlockId;

/** Runs on a driver's class path and tells where its blocks lie, which py4j cannot ask in every version. */
public final class Ebm {
  /** The block managers that hold a block, as Spark prints them. */
  public static String where(String block) {
    return String.valueOf(SparkEnv.get().blockManager().master().getLocations(BlockId.apply(block)));
  }

  /** The driver's own block manager. */
  public static String driver() {
    return String.valueOf(SparkEnv.get().blockManager().blockManagerId());
  }

  /** The id of the newest shuffle. */
  public static int newest() {
    int newest = -1;
    MapOutputTrackerMaster tracker = (MapOutputTrackerMaster) SparkEnv.get().mapOutputTracker();
    scala.collection.Iterator<?> ids = tracker.shuffleStatuses().keysIterator();
    while (ids.hasNext()) {
      newest = Math.max(newest, (Integer) ids.next());
    }
    return newest;
  }

  /** One line a map output of a shuffle: map id and location. */
  public static String maps(int shuffle) {
    StringBuilder out = new StringBuilder();
    MapOutputTrackerMaster tracker = (MapOutputTrackerMaster) SparkEnv.get().mapOutputTracker();
    for (MapStatus status : tracker.shuffleStatuses().get(shuffle).get().mapStatuses()) {
      out.append(status.mapId()).append(' ').append(status.location()).append('\n');
    }
    return out.toString();
  }
}
