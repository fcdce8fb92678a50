package suites;

import com.codahale.metrics.Counting;
import com.codahale.metrics.Gauge;
import com.codahale.metrics.Metric;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.spark.network.TransportContext;
import org.apache.spark.network.crypto.AuthServerBootstrap;
import org.apache.spark.network.sasl.SecretKeyHolder;
import org.apache.spark.network.server.TransportServer;
import org.apache.spark.network.server.TransportServerBootstrap;
import org.apache.spark.network.shuffle.ExternalBlockHandler;
import org.apache.spark.network.shuffle.RemoteBlockPushResolver;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;

/**
 * Spark's own service, assembled as Spark's YARN service is, behind the command line and the admin port of ours: a test
 * that fails on it too says nothing of ours.
 */
public final class Control {
  /** Spark's name of a count, and ours. */
  private static final Map<String, String> NAMES = Map.ofEntries(
      Map.entry("blockAppendCollisions", "merge_block_append_collisions_total"),
      Map.entry("lateBlockPushes", "merge_late_block_pushes_total"),
      Map.entry("staleBlockPushes", "merge_stale_block_pushes_total"),
      Map.entry("blockBytesWritten", "merge_written_bytes_total"),
      Map.entry("ignoredBlockBytes", "merge_ignored_bytes_total"),
      Map.entry("deferredBlockBytes", "merge_deferred_bytes"),
      Map.entry("deferredBlocks", "merge_deferred_blocks"),
      Map.entry("blockTransferRate", "blocks_total"),
      Map.entry("blockTransferRateBytes", "block_bytes_total"),
      Map.entry("registeredExecutorsSize", "executors"),
      Map.entry("numActiveConnections", "connections"));

  private Control() {}

  public static void main(String[] args) throws Exception {
    Map<String, String> flags = new HashMap<>();
    for (int i = 1; i + 1 < args.length; i += 2) {
      flags.put(args[i], args[i + 1]);
    }
    Map<String, String> keys = new HashMap<>();
    for (String line : Files.readAllLines(Path.of(flags.get("--properties-file")))) {
      keys.put(line.substring(0, line.indexOf(' ')), line.substring(line.indexOf(' ') + 1));
    }
    TransportConf conf = new TransportConf("shuffle", new MapConfigProvider(keys));
    RemoteBlockPushResolver merger = new RemoteBlockPushResolver(conf, null);
    ExternalBlockHandler handler = new ExternalBlockHandler(conf, null, merger,
        keys.get("spark.local.dir").split(","), Boolean.parseBoolean(keys.get("spark.shuffle.service.requireAppScopedLocalDirs")));
    String secrets = keys.get("spark.sealed.auth.secret-dir");
    List<TransportServerBootstrap> bootstraps =
        secrets == null ? List.of() : List.of(new AuthServerBootstrap(conf, holder(Path.of(secrets))));
    TransportServer server = new TransportContext(conf, handler, true)
        .createServer(flags.get("--bind"), Integer.parseInt(flags.get("--port")), bootstraps);
    System.out.println("listening on 127.0.0.1:" + server.getPort());
    System.out.println("admin on 127.0.0.1:" + admin(handler, merger));
    System.out.flush();
    while (System.in.read() >= 0) {
      // runs until its input ends, as it does with the process that started it
    }
    System.exit(0);
  }

  private static SecretKeyHolder holder(Path dir) {
    return new SecretKeyHolder() {
      @Override
      public String getSaslUser(String app) {
        return "sparkSaslUser";
      }

      @Override
      public String getSecretKey(String app) {
        try {
          return Files.exists(dir.resolve(app)) ? Files.readString(dir.resolve(app)) : null;
        } catch (IOException e) {
          return null;
        }
      }
    };
  }

  private static int admin(ExternalBlockHandler handler, RemoteBlockPushResolver merger) throws IOException {
    HttpServer http = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    http.createContext("/metrics", exchange -> {
      Map<String, Metric> all = new HashMap<>(handler.getAllMetrics().getMetrics());
      all.putAll(merger.getMetrics().getMetrics());
      StringBuilder text = new StringBuilder();
      NAMES.forEach((theirs, ours) -> text.append("sealed_shuffle_").append(ours).append(' ')
          .append(value(all.get(theirs))).append('\n'));
      answer(exchange, text.toString());
    });
    http.createContext("/applications/", exchange -> {
      String path = exchange.getRequestURI().getPath();
      handler.applicationRemoved(path.substring(path.lastIndexOf('/') + 1), false);
      answer(exchange, "");
    });
    http.start();
    return http.getAddress().getPort();
  }

  private static Object value(Metric metric) {
    return metric instanceof Gauge ? ((Gauge<?>) metric).getValue() : ((Counting) metric).getCount();
  }

  private static void answer(HttpExchange exchange, String text) throws IOException {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    exchange.sendResponseHeaders(200, bytes.length == 0 ? -1 : bytes.length);
    exchange.getResponseBody().write(bytes);
    exchange.close();
  }
}
