import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.spark.ShuffleDependency;
import org.apache.spark.SparkConf;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.shuffle.ShuffleBlockResolver;
import org.apache.spark.shuffle.ShuffleHandle;
import org.apache.spark.shuffle.ShuffleManager;
import org.apache.spark.shuffle.ShuffleReadMetricsReporter;
import org.apache.spark.shuffle.ShuffleReader;
import org.apache.spark.shuffle.ShuffleWriteMetricsReporter;
import org.apache.spark.shuffle.ShuffleWriter;
import org.apache.spark.shuffle.sort.SortShuffleManager;
import scala.Tuple2;

/**
 * A shuffle manager in the form that all have that were written for Spark before 4.3, remote shuffle services' among them. It
 * hands everything to Spark's own. Its main method runs a shuffle with it.
 */
public final class OldShuffleManager implements ShuffleManager {
  private static final AtomicInteger WRITERS = new AtomicInteger();
  private final SortShuffleManager own;

  public OldShuffleManager(SparkConf conf) {
    own = new SortShuffleManager(conf);
  }

  @Override
  public <K, V, C> ShuffleHandle registerShuffle(int shuffle, ShuffleDependency<K, V, C> dependency) {
    return own.registerShuffle(shuffle, dependency);
  }

  @Override
  public <K, V> ShuffleWriter<K, V> getWriter(
      ShuffleHandle handle, long map, TaskContext context, ShuffleWriteMetricsReporter metrics) {
    WRITERS.incrementAndGet();
    return own.getWriter(handle, map, context, metrics);
  }

  @Override
  public <K, C> ShuffleReader<K, C> getReader(
      ShuffleHandle handle, int startMap, int endMap, int start, int end, TaskContext context,
      ShuffleReadMetricsReporter metrics) {
    return own.getReader(handle, startMap, endMap, start, end, context, metrics);
  }

  @Override
  public boolean unregisterShuffle(int shuffle) {
    return own.unregisterShuffle(shuffle);
  }

  /** A method of the interface before 4.3, and of BlockingShuffleManager from then on. */
  public ShuffleBlockResolver shuffleBlockResolver() {
    return own.shuffleBlockResolver();
  }

  @Override
  public void stop() {
    own.stop();
  }

  public static void main(String[] args) {
    SparkConf conf = new SparkConf()
        .setMaster("local[2]")
        .setAppName("old-shuffle-manager")
        .set("spark.ui.enabled", "false")
        .set("spark.shuffle.manager", OldShuffleManager.class.getName());
    try (JavaSparkContext context = new JavaSparkContext(conf)) {
      List<Integer> numbers = new ArrayList<>();
      for (int i = 0; i < 1000; i++) {
        numbers.add(i);
      }
      long keys = context.parallelize(numbers, 4).mapToPair(n -> new Tuple2<>(n % 10, n)).reduceByKey(Integer::sum).count();
      System.out.println(keys + " keys, " + WRITERS + " writers");
    }
  }
}
