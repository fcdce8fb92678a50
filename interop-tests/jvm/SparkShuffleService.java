import com.codahale.metrics.Counting;
import com.codahale.metrics.MetricSet;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.SecurityManager;
import org.apache.spark.SparkConf;
import org.apache.spark.deploy.ExternalShuffleService;
import org.apache.spark.network.server.TransportServer;

/**
 * Spark's own external shuffle service on a free port: the oracle, and the peer of our client. As a program it takes
 * KEY=VALUE arguments, prints "listening on 127.0.0.1:PORT" and runs until its standard input ends. It merges where
 * the key of Spark's YARN service names a merger.
 */
public final class SparkShuffleService {
  private final ExternalShuffleService service;
  private final int port;

  private SparkShuffleService(ExternalShuffleService service, int port) {
    this.service = service;
    this.port = port;
  }

  public static void main(String[] args) throws Exception {
    Map<String, String> conf = new TreeMap<>();
    for (String arg : args) {
      conf.put(arg.substring(0, arg.indexOf('=')), arg.substring(arg.indexOf('=') + 1));
    }
    SparkShuffleService service = start(conf);
    System.out.println("listening on 127.0.0.1:" + service.port());
    System.out.flush();
    while (System.in.read() >= 0) {
      // waits for the end of input
    }
    System.exit(0);
  }

  static SparkShuffleService start(Map<String, String> options) throws Exception {
    SparkConf conf = new SparkConf(false);
    conf.set("spark.shuffle.service.enabled", "true");
    conf.set("spark.shuffle.service.port", "0");
    conf.set("spark.shuffle.service.db.enabled", "false");
    options.forEach(conf::set);
    String merger = conf.get("spark.shuffle.push.server.mergedShuffleFileManagerImpl", "");
    Class<?> type = merger.endsWith(".RemoteBlockPushResolver")
        ? Class.forName("MergingShuffleService") : ExternalShuffleService.class;
    ExternalShuffleService service = (ExternalShuffleService)
        type.getConstructor(SparkConf.class, SecurityManager.class).newInstance(conf, security(conf));
    service.start();
    return new SparkShuffleService(service, ((TransportServer) Reflect.field(service, "server")).getPort());
  }

  int port() {
    return port;
  }

  void stop() {
    service.stop();
  }

  /** Counts of the meters and counters that Spark registers for its handler. */
  ObjectNode metrics() {
    ObjectNode result = SparkClient.JSON.createObjectNode();
    ObjectNode counts = result.putObject("metrics");
    Object handler = Reflect.field(service, "blockHandler");
    count((MetricSet) Reflect.call(handler, "getAllMetrics"), counts);
    if (service.getClass() != ExternalShuffleService.class) {
      try {
        count((MetricSet) Reflect.call(Reflect.field(handler, "mergeManager"), "getMetrics"), counts);
      } catch (UnsupportedOperationException none) {
        // before Spark 3.4 its merger counts nothing
      }
    }
    return result;
  }

  private static void count(MetricSet metrics, ObjectNode counts) {
    metrics.getMetrics().forEach((name, metric) -> {
      if (metric instanceof Counting) {
        counts.put(name, ((Counting) metric).getCount());
      }
    });
  }

  /** The Scala constructor has default arguments, which differ between versions. */
  private static SecurityManager security(SparkConf conf) throws Exception {
    Class<?> type = SecurityManager.class;
    java.lang.reflect.Constructor<?> constructor = type.getConstructors()[0];
    Object[] args = new Object[constructor.getParameterCount()];
    args[0] = conf;
    for (int i = 1; i < args.length; i++) {
      args[i] = type.getMethod("$lessinit$greater$default$" + (i + 1)).invoke(null);
    }
    return (SecurityManager) constructor.newInstance(args);
  }
}
