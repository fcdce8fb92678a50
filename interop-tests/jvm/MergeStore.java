import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.buffer.NioManagedBuffer;
import org.apache.spark.network.server.BlockPushNonFatalFailure;
import org.apache.spark.network.shuffle.BlockPushingListener;
import org.apache.spark.network.shuffle.ExternalBlockStoreClient;
import org.apache.spark.network.shuffle.MergeFinalizerListener;
import org.apache.spark.network.shuffle.MergedBlockMeta;
import org.apache.spark.network.shuffle.MergedBlocksMetaListener;
import org.apache.spark.network.shuffle.protocol.MergeStatuses;
import org.roaringbitmap.RoaringBitmap;

/** The merging half of Spark's ExternalBlockStoreClient: what executors push through and drivers finalize with (3.2 and later). */
public final class MergeStore {
  private static final long TIMEOUT_S = 60;

  private MergeStore() {}

  /** A command of the store that is about merging; null where it is not. */
  public static ObjectNode run(Object store, JsonNode c) throws Exception {
    ExternalBlockStoreClient client = (ExternalBlockStoreClient) store;
    String host = c.get("host").asText();
    int port = c.get("port").asInt();
    int shuffle = c.path("shuffle").asInt();
    int merge = c.path("merge").asInt();
    switch (c.get("cmd").asText()) {
      case "attempt":
        client.setAppAttemptId(c.get("attempt").asText());
        return SparkClient.JSON.createObjectNode();
      case "push":
        return push(client, host, port, c.get("blocks"));
      case "finalize":
        return finish(client, host, port, shuffle, merge);
      case "merged":
        return merged(client, host, port, shuffle, merge, c.get("reduce").asInt());
      case "remove-merge":
        Object sent = Reflect.call(client, "removeShuffleMerge", host, port, shuffle, merge);
        return SparkClient.JSON.createObjectNode().put("sent", (Boolean) sent);
      default:
        return null;
    }
  }

  /** Pushes blocks, an object of names and hex bytes: to each a code, or how it failed otherwise. */
  private static ObjectNode push(ExternalBlockStoreClient client, String host, int port, JsonNode blocks)
      throws Exception {
    String[] names = new String[blocks.size()];
    ManagedBuffer[] buffers = new ManagedBuffer[blocks.size()];
    int filled = 0;
    for (JsonNode block : blocks) {
      names[filled] = block.get("name").asText();
      buffers[filled++] = new NioManagedBuffer(ByteBuffer.wrap(bytes(block.get("data").asText())));
    }
    Map<String, ObjectNode> outcomes = new ConcurrentHashMap<>();
    CountDownLatch left = new CountDownLatch(names.length);
    client.pushBlocks(host, port, names, buffers, new BlockPushingListener() {
      @Override
      public void onBlockPushSuccess(String name, ManagedBuffer data) {
        done(name, SparkClient.JSON.createObjectNode().put("code", "SUCCESS"));
      }

      @Override
      public void onBlockPushFailure(String name, Throwable e) {
        ObjectNode outcome = SparkClient.JSON.createObjectNode();
        if (e instanceof BlockPushNonFatalFailure) {
          done(name, outcome.put("code", ((BlockPushNonFatalFailure) e).getReturnCode().name()));
        } else {
          done(name, Failures.describe(outcome, e));
        }
      }

      private void done(String name, ObjectNode outcome) {
        if (outcomes.putIfAbsent(name, outcome) == null) {
          left.countDown();
        }
      }
    });
    boolean complete = left.await(TIMEOUT_S, TimeUnit.SECONDS);
    ObjectNode result = SparkClient.JSON.createObjectNode().put("complete", complete);
    ObjectNode list = result.putObject("blocks");
    outcomes.forEach(list::set);
    return result;
  }

  private static ObjectNode finish(ExternalBlockStoreClient client, String host, int port, int shuffle, int merge)
      throws Exception {
    CompletableFuture<ObjectNode> answer = new CompletableFuture<>();
    client.finalizeShuffleMerge(host, port, shuffle, merge, new MergeFinalizerListener() {
      @Override
      public void onShuffleMergeSuccess(MergeStatuses statuses) {
        ObjectNode result = SparkClient.JSON.createObjectNode();
        ObjectNode reduces = result.putObject("reduces");
        for (int i = 0; i < statuses.reduceIds.length; i++) {
          ObjectNode reduce = reduces.putObject(Integer.toString(statuses.reduceIds[i]));
          put(statuses.bitmaps[i], reduce.put("size", statuses.sizes[i]).putArray("maps"));
        }
        answer.complete(result);
      }

      @Override
      public void onShuffleMergeFailure(Throwable e) {
        answer.complete(Failures.describe(SparkClient.JSON.createObjectNode(), e));
      }
    });
    return answer.get(TIMEOUT_S, TimeUnit.SECONDS);
  }

  /** The maps of each chunk. */
  private static ObjectNode merged(
      ExternalBlockStoreClient client, String host, int port, int shuffle, int merge, int reduce) throws Exception {
    CompletableFuture<ObjectNode> answer = new CompletableFuture<>();
    client.getMergedBlockMeta(host, port, shuffle, merge, reduce, new MergedBlocksMetaListener() {
      @Override
      public void onSuccess(int shuffle, int merge, int reduce, MergedBlockMeta meta) {
        ObjectNode result = SparkClient.JSON.createObjectNode();
        try {
          ArrayNode chunks = result.putArray("chunks");
          for (RoaringBitmap maps : meta.readChunkBitmaps()) {
            put(maps, chunks.addArray());
          }
          answer.complete(result.put("count", meta.getNumChunks()));
        } catch (java.io.IOException e) {
          answer.complete(Failures.describe(result, e));
        }
      }

      @Override
      public void onFailure(int shuffle, int merge, int reduce, Throwable e) {
        answer.complete(Failures.describe(SparkClient.JSON.createObjectNode(), e));
      }
    });
    return answer.get(TIMEOUT_S, TimeUnit.SECONDS);
  }

  private static void put(RoaringBitmap maps, ArrayNode into) {
    for (int map : maps.toArray()) {
      into.add(map);
    }
  }

  private static byte[] bytes(String hex) {
    byte[] bytes = new byte[hex.length() / 2];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
    }
    return bytes;
  }
}
