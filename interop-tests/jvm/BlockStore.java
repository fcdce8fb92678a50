import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.sasl.SecretKeyHolder;
import org.apache.spark.network.shuffle.BlockFetchingListener;
import org.apache.spark.network.shuffle.DownloadFile;
import org.apache.spark.network.shuffle.DownloadFileManager;
import org.apache.spark.network.shuffle.SimpleDownloadFile;
import org.apache.spark.network.shuffle.protocol.ExecutorShuffleInfo;
import org.apache.spark.network.util.TransportConf;

/**
 * Spark's ExternalBlockStoreClient, ExternalShuffleClient before 3.0: the very class through which executors and
 * drivers use a shuffle service.
 */
final class BlockStore {
  private static final long TIMEOUT_S = 60;
  private static final long REGISTRATION_MS = 10_000;
  private static final String CLASS = "org.apache.spark.network.shuffle.ExternalBlockStoreClient";
  private static final String OLDER_CLASS = "org.apache.spark.network.shuffle.ExternalShuffleClient";
  private final Object client;

  private BlockStore(Object client) {
    this.client = client;
  }

  static BlockStore open(JsonNode c) {
    TransportConf conf = Options.transport(c);
    SecretKeyHolder secret = Options.secret(c);
    Object client =
        Reflect.make(Reflect.has(CLASS) ? CLASS : OLDER_CLASS, conf, secret, secret != null, REGISTRATION_MS);
    Reflect.call(client, "init", c.get("app").asText());
    return new BlockStore(client);
  }

  void close() {
    Reflect.call(client, "close");
  }

  ObjectNode run(JsonNode c) throws Exception {
    String host = c.get("host").asText();
    int port = c.get("port").asInt();
    String exec = c.has("exec") ? c.get("exec").asText() : null;
    ObjectNode result = SparkClient.JSON.createObjectNode();
    switch (c.get("cmd").asText()) {
      case "register":
        Reflect.call(client, "registerWithShuffleServer", host, port, exec, new ExecutorShuffleInfo(
            Options.strings(c.get("dirs")), c.get("sub_dirs").asInt(), c.get("manager").asText()));
        return result;
      case "fetch":
        return fetch(host, port, exec, Options.strings(c.get("blocks")), c.path("to_disk").asBoolean(false));
      case "remove":
        Future<?> removed =
            (Future<?>) Reflect.call(client, "removeBlocks", host, port, exec, Options.strings(c.get("blocks")));
        return result.put("count", (Integer) removed.get(TIMEOUT_S, TimeUnit.SECONDS));
      case "local-dirs":
        return localDirs(host, port, Options.strings(c.get("execs")));
      case "diagnose":
        Enum<?> cause = (Enum<?>) Reflect.call(client, "diagnoseCorruption", host, port, exec,
            c.get("shuffle").asInt(), c.get("map").asLong(), c.get("reduce").asInt(), c.get("checksum").asLong(),
            c.get("algorithm").asText());
        return result.put("cause", cause.name());
      default:
        ObjectNode merging = merging(c);
        if (merging == null) {
          throw new IllegalArgumentException("unknown command " + c);
        }
        return merging;
    }
  }

  /** By name, since releases before 3.2 do not have the classes. */
  private ObjectNode merging(JsonNode c) throws Exception {
    try {
      return (ObjectNode)
          Class.forName("MergeStore").getMethod("run", Object.class, JsonNode.class).invoke(null, client, c);
    } catch (java.lang.reflect.InvocationTargetException e) {
      throw e.getCause() instanceof Exception ? (Exception) e.getCause() : e;
    }
  }

  private ObjectNode localDirs(String host, int port, String[] execs) throws Exception {
    CompletableFuture<Map<String, String[]>> answer = new CompletableFuture<>();
    Reflect.call(client, "getHostLocalDirs", host, port, execs, answer);
    ObjectNode result = SparkClient.JSON.createObjectNode();
    Messages.putDirs(answer.get(TIMEOUT_S, TimeUnit.SECONDS), result);
    return result;
  }

  /** Fetches all blocks; the first outcome of each block counts, since a failure may be followed by echoes. */
  private ObjectNode fetch(String host, int port, String exec, String[] blocks, boolean toDisk) throws Exception {
    Map<String, ObjectNode> outcomes = new ConcurrentHashMap<>();
    CountDownLatch left = new CountDownLatch(blocks.length);
    BlockFetchingListener listener = new BlockFetchingListener() {
      @Override
      public void onBlockFetchSuccess(String block, ManagedBuffer data) {
        ObjectNode outcome = SparkClient.JSON.createObjectNode();
        try {
          done(block, describe(data, outcome));
        } catch (IOException e) {
          done(block, Failures.describe(outcome, e));
        }
      }

      @Override
      public void onBlockFetchFailure(String block, Throwable e) {
        done(block, Failures.describe(SparkClient.JSON.createObjectNode(), e));
      }

      private void done(String block, ObjectNode outcome) {
        if (outcomes.putIfAbsent(block, outcome) == null) {
          left.countDown();
        }
      }
    };
    Reflect.call(client, "fetchBlocks", host, port, exec, blocks, listener, toDisk ? new TempFiles() : null);
    boolean complete = left.await(TIMEOUT_S, TimeUnit.SECONDS);
    ObjectNode result = SparkClient.JSON.createObjectNode().put("complete", complete);
    ObjectNode list = result.putObject("blocks");
    outcomes.forEach(list::set);
    return result;
  }

  private static ObjectNode describe(ManagedBuffer data, ObjectNode into) throws IOException {
    Received received = new Received();
    try (InputStream in = data.createInputStream()) {
      byte[] buffer = new byte[65536];
      for (int n; (n = in.read(buffer)) > 0; ) {
        received.add(ByteBuffer.wrap(buffer, 0, n));
      }
    }
    into.put("buffer", data.getClass().getSimpleName());
    return received.describe(into);
  }

  /** Downloads go to temporary files that are deleted with the JVM. */
  private static final class TempFiles implements DownloadFileManager {
    @Override
    public DownloadFile createTempFile(TransportConf conf) {
      try {
        File file = File.createTempFile("fetched", ".block");
        file.deleteOnExit();
        return new SimpleDownloadFile(file, conf);
      } catch (IOException e) {
        throw new java.io.UncheckedIOException(e);
      }
    }

    @Override
    public boolean registerTempFileToClean(DownloadFile file) {
      return true;
    }
  }
}
