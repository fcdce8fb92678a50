import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.spark.network.TransportContext;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.client.ChunkReceivedCallback;
import org.apache.spark.network.client.TransportClient;
import org.apache.spark.network.client.TransportClientBootstrap;
import org.apache.spark.network.client.TransportClientFactory;
import org.apache.spark.network.crypto.AuthClientBootstrap;
import org.apache.spark.network.sasl.SecretKeyHolder;
import org.apache.spark.network.server.NoOpRpcHandler;
import org.apache.spark.network.shuffle.protocol.BlockTransferMessage;
import org.apache.spark.network.shuffle.protocol.ExecutorShuffleInfo;
import org.apache.spark.network.shuffle.protocol.FetchShuffleBlocks;
import org.apache.spark.network.shuffle.protocol.RegisterExecutor;
import org.apache.spark.network.shuffle.protocol.StreamHandle;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;

/**
 * Load from Spark's own client, the same for every service it is pointed at: each connection opens a stream over some
 * reduce blocks of all the maps 0..maps, as a reducer does, takes every chunk, throws it away, and goes on with the
 * next reduce blocks, around and around, until enough bytes have come. Or, where handshakes are asked for, it opens that
 * many connections, "connections" of them side by side, and closes each as soon as it has authenticated.
 *
 * Arguments are KEY=VALUE: host, port, app, exec, secret (absent: no authentication), connections, bytes, warm_up (bytes
 * before the clock starts, so that the client's own compiler has caught up), handshakes,
 * shuffle, maps, reduces, reduces_per_request (absent: all), dirs (comma separated; present: registers the executor first),
 * every spark.* key. Prints one JSON line.
 */
public final class Bench {
  private final Map<String, String> options = new HashMap<>();
  private final AtomicLong received = new AtomicLong();
  private final AtomicLong blocks = new AtomicLong();
  private final AtomicLong requests = new AtomicLong();
  private final AtomicReference<Throwable> failure = new AtomicReference<>();
  private long wanted;

  public static void main(String[] args) throws Exception {
    Bench bench = new Bench();
    for (String arg : args) {
      bench.options.put(arg.substring(0, arg.indexOf('=')), arg.substring(arg.indexOf('=') + 1));
    }
    bench.run();
    System.exit(bench.failure.get() == null ? 0 : 1);
  }

  private void run() throws Exception {
    int connections = number("connections", 1);
    Map<String, String> conf = new HashMap<>();
    options.forEach((k, v) -> {
      if (k.startsWith("spark.")) {
        conf.put(k, v);
      }
    });
    TransportConf transport = new TransportConf("shuffle", new MapConfigProvider(conf));
    TransportContext context = new TransportContext(transport, new NoOpRpcHandler(), true);
    TransportClientFactory factory = context.createClientFactory(bootstraps(transport));
    if (options.containsKey("handshakes")) {
      handshakes(factory, number("handshakes", 1), connections);
      return;
    }
    List<TransportClient> clients = new ArrayList<>();
    for (int i = 0; i < connections; i++) {
      clients.add(connect(factory));
    }
    if (options.containsKey("dirs")) {
      clients.get(0).sendRpcSync(new RegisterExecutor(app(), exec(), new ExecutorShuffleInfo(
          options.get("dirs").split(","), number("sub_dirs", 64),
          "org.apache.spark.shuffle.sort.SortShuffleManager")).toByteBuffer(), 10_000);
    }
    List<Runnable> work = new ArrayList<>();
    clients.forEach(client -> work.add(() -> fetchUntilEnough(client)));
    wanted = Long.parseLong(options.getOrDefault("warm_up", "0"));
    together(work);
    long before = received.get();
    wanted = before + Long.parseLong(options.getOrDefault("bytes", "1000000000"));
    double seconds = together(work);
    if (failure.get() != null) {
      failure.get().printStackTrace();
      return;
    }
    double cpu = ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
        .getProcessCpuTime() / 1e9;
    System.out.printf("{\"bytes\":%d,\"timed_bytes\":%d,\"blocks\":%d,\"seconds\":%.3f,\"client_cpu_seconds\":%.3f,\"connections\":%d}%n",
        received.get(), received.get() - before, blocks.get(), seconds, cpu, connections);
  }

  /** Opens and authenticates {@code count} connections, {@code atOnce} at a time, and closes each at once. */
  private void handshakes(TransportClientFactory factory, int count, int atOnce) throws Exception {
    AtomicLong left = new AtomicLong(count);
    double seconds = together(Collections.nCopies(atOnce, () -> {
      try {
        while (left.getAndDecrement() > 0 && failure.get() == null) {
          connect(factory).close();
        }
      } catch (Throwable e) {
        failure.compareAndSet(null, e);
      }
    }));
    if (failure.get() != null) {
      failure.get().printStackTrace();
      return;
    }
    System.out.printf("{\"handshakes\":%d,\"seconds\":%.3f,\"connections\":%d}%n", count, seconds, atOnce);
  }

  private TransportClient connect(TransportClientFactory factory) throws Exception {
    return factory.createUnmanagedClient(options.getOrDefault("host", "127.0.0.1"), number("port", 7337));
  }

  /** Does all of it side by side, and says how many seconds that took. */
  private static double together(List<Runnable> work) throws Exception {
    long begin = System.nanoTime();
    List<Thread> threads = new ArrayList<>();
    for (Runnable one : work) {
      Thread thread = new Thread(one);
      thread.start();
      threads.add(thread);
    }
    for (Thread thread : threads) {
      thread.join();
    }
    return (System.nanoTime() - begin) / 1e9;
  }

  private void fetchUntilEnough(TransportClient client) {
    try {
      while (received.get() < wanted && failure.get() == null) {
        fetchOnce(client);
      }
    } catch (Throwable e) {
      failure.compareAndSet(null, e);
    }
  }

  private void fetchOnce(TransportClient client) throws Exception {
    int maps = number("maps", 1);
    int reduces = number("reduces", 1);
    int together = number("reduces_per_request", reduces);
    long first = requests.getAndIncrement() * together;
    long[] mapIds = new long[maps];
    int[][] reduceIds = new int[maps][together];
    for (int m = 0; m < maps; m++) {
      mapIds[m] = m;
      for (int r = 0; r < together; r++) {
        reduceIds[m][r] = (int) ((first + r) % reduces);
      }
    }
    ByteBuffer request =
        new FetchShuffleBlocks(app(), exec(), number("shuffle", 0), mapIds, reduceIds, false).toByteBuffer();
    StreamHandle handle =
        (StreamHandle) BlockTransferMessage.Decoder.fromByteBuffer(client.sendRpcSync(request, 30_000));
    CountDownLatch left = new CountDownLatch(handle.numChunks);
    for (int i = 0; i < handle.numChunks; i++) {
      client.fetchChunk(handle.streamId, i, new ChunkReceivedCallback() {
        @Override
        public void onSuccess(int index, ManagedBuffer buffer) {
          received.addAndGet(buffer.size());
          blocks.incrementAndGet();
          left.countDown();
        }

        @Override
        public void onFailure(int index, Throwable e) {
          failure.compareAndSet(null, e);
          left.countDown();
        }
      });
    }
    left.await();
  }

  private List<TransportClientBootstrap> bootstraps(TransportConf conf) {
    String secret = options.get("secret");
    if (secret == null) {
      return Collections.emptyList();
    }
    return Collections.singletonList(new AuthClientBootstrap(conf, app(), new SecretKeyHolder() {
      @Override
      public String getSaslUser(String appId) {
        return "sparkSaslUser";
      }

      @Override
      public String getSecretKey(String appId) {
        return secret;
      }
    }));
  }

  private String app() {
    return options.getOrDefault("app", "app-1");
  }

  private String exec() {
    return options.getOrDefault("exec", "1");
  }

  private int number(String key, int otherwise) {
    return Integer.parseInt(options.getOrDefault(key, Integer.toString(otherwise)));
  }
}
