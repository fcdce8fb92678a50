import org.apache.spark.SecurityManager;
import org.apache.spark.SparkConf;
import org.apache.spark.deploy.ExternalShuffleService;
import org.apache.spark.network.shuffle.ExternalBlockHandler;
import org.apache.spark.network.shuffle.MergedShuffleFileManager;
import org.apache.spark.network.util.TransportConf;

/**
 * Spark's own external shuffle service with Spark's own merger behind it, for which only its YARN service has a switch.
 * Keeps no database.
 */
public final class MergingShuffleService extends ExternalShuffleService {
  private static final String MERGER = "org.apache.spark.network.shuffle.RemoteBlockPushResolver";

  public MergingShuffleService(SparkConf conf, SecurityManager security) {
    super(conf, security);
  }

  /** Called by the constructor above. */
  @Override
  public ExternalBlockHandler newShuffleBlockHandler(TransportConf conf) {
    Object merger;
    try {
      merger = Reflect.make(MERGER, conf, null);
    } catch (UnsupportedOperationException older) { // without a file for recovery, before Spark 3.4
      merger = Reflect.make(MERGER, conf);
    }
    try {
      return new ExternalBlockHandler(conf, null, (MergedShuffleFileManager) merger);
    } catch (java.io.IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }
}
