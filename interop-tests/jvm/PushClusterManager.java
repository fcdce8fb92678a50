import org.apache.spark.SparkContext;
import org.apache.spark.deploy.LocalSparkCluster;
import org.apache.spark.scheduler.ExternalClusterManager;
import org.apache.spark.scheduler.SchedulerBackend;
import org.apache.spark.scheduler.TaskScheduler;
import org.apache.spark.scheduler.TaskSchedulerImpl;
import org.apache.spark.scheduler.cluster.StandaloneSchedulerBackend;
import org.apache.spark.storage.BlockManagerId;
import scala.Option;
import scala.collection.immutable.$colon$colon;
import scala.collection.immutable.List;
import scala.collection.immutable.Nil$;
import scala.runtime.BoxedUnit;

/**
 * A cluster whose driver names mergers, which of Spark's own backends only YARN's does. The master is
 * localpush[WORKERS,CORES,MEMORY in MiB], for a cluster in this JVM, or localpush:spark://HOST:PORT, for a standalone one;
 * spark.interop.mergers lists HOST:PORT, comma-separated.
 */
public final class PushClusterManager implements ExternalClusterManager {
  private static final String SCHEME = "localpush[";
  private static final String STANDALONE = "localpush:";

  @Override
  public boolean canCreate(String master) {
    return master.startsWith(SCHEME) || master.startsWith(STANDALONE);
  }

  @Override
  public TaskScheduler createTaskScheduler(SparkContext context, String master) {
    return new TaskSchedulerImpl(context);
  }

  @Override
  public SchedulerBackend createSchedulerBackend(SparkContext context, String master, TaskScheduler scheduler) {
    if (master.startsWith(STANDALONE)) {
      String[] masters = {master.substring(STANDALONE.length())};
      return new Backend((TaskSchedulerImpl) scheduler, context, masters);
    }
    String[] numbers = master.substring(SCHEME.length(), master.length() - 1).split(",");
    LocalSparkCluster cluster =
        LocalSparkCluster.apply(
            Integer.parseInt(numbers[0]), Integer.parseInt(numbers[1]), Integer.parseInt(numbers[2]), context.conf());
    Backend backend = new Backend((TaskSchedulerImpl) scheduler, context, cluster.start());
    backend.shutdownCallback_$eq(
        ended -> {
          cluster.stop();
          return BoxedUnit.UNIT;
        });
    return backend;
  }

  @Override
  public void initialize(TaskScheduler scheduler, SchedulerBackend backend) {
    ((TaskSchedulerImpl) scheduler).initialize(backend);
  }

  private static final class Backend extends StandaloneSchedulerBackend {
    private final List<BlockManagerId> mergers;

    Backend(TaskSchedulerImpl scheduler, SparkContext context, String[] masters) {
      super(scheduler, context, masters);
      List<BlockManagerId> all = none();
      for (String merger : context.conf().get("spark.interop.mergers").split(",")) {
        int colon = merger.lastIndexOf(':');
        int port = Integer.parseInt(merger.substring(colon + 1));
        Option<String> noTopology = Option.empty();
        BlockManagerId id =
            BlockManagerId.apply("shuffle-push-merger", merger.substring(0, colon), port, noTopology);
        all = new $colon$colon<>(id, all);
      }
      mergers = all;
    }

    @SuppressWarnings("unchecked")
    private static List<BlockManagerId> none() {
      return (List<BlockManagerId>) (List<?>) Nil$.MODULE$;
    }

    /** A List is what each of Spark's Scala versions wants here. */
    @Override
    public List<BlockManagerId> getShufflePushMergerLocations(int partitions, int resourceProfile) {
      return mergers;
    }
  }
}
