import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.Closeable;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.apache.spark.network.TransportContext;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.buffer.NioManagedBuffer;
import org.apache.spark.network.client.ChunkReceivedCallback;
import org.apache.spark.network.client.RpcResponseCallback;
import org.apache.spark.network.client.StreamCallback;
import org.apache.spark.network.client.TransportClient;
import org.apache.spark.network.client.TransportClientBootstrap;
import org.apache.spark.network.client.TransportClientFactory;
import org.apache.spark.network.crypto.AuthClientBootstrap;
import org.apache.spark.network.sasl.SecretKeyHolder;
import org.apache.spark.network.server.NoOpRpcHandler;
import org.apache.spark.network.util.TransportConf;

/** One connection of Spark's TransportClient, driven request by request. */
final class RawConnection {
  private static final long DEFAULT_TIMEOUT_MS = 20_000;
  private final TransportContext context;
  private final TransportClientFactory factory;
  private final TransportClient client;

  private RawConnection(TransportContext context, TransportClientFactory factory, TransportClient client) {
    this.context = context;
    this.factory = factory;
    this.client = client;
  }

  /** Connects and, where the command names a secret, authenticates as application "app". */
  static RawConnection open(JsonNode c) throws Exception {
    TransportConf conf = Options.transport(c);
    SecretKeyHolder secret = Options.secret(c);
    List<TransportClientBootstrap> bootstraps = secret == null ? Collections.emptyList()
        : Collections.singletonList(new AuthClientBootstrap(conf, c.get("app").asText(), secret));
    TransportContext context = new TransportContext(conf, new NoOpRpcHandler(), true);
    TransportClientFactory factory = context.createClientFactory(bootstraps);
    try {
      return new RawConnection(context, factory,
          factory.createUnmanagedClient(c.get("host").asText(), c.get("port").asInt()));
    } catch (Throwable failure) {
      factory.close();
      end(context);
      throw failure;
    }
  }

  void close() throws IOException {
    client.close();
    factory.close();
    end(context);
  }

  /** A context has something to close since 3.0. */
  private static void end(TransportContext context) throws IOException {
    if (context instanceof Closeable) {
      ((Closeable) context).close();
    }
  }

  ObjectNode run(JsonNode c) throws Exception {
    long timeout = c.has("timeout_ms") ? c.get("timeout_ms").asLong() : DEFAULT_TIMEOUT_MS;
    switch (c.get("cmd").asText()) {
      case "rpc":
        return await(timeout, done -> client.sendRpc(Messages.encode(c.get("message")), rpc(done)));
      case "one-way":
        client.send(Messages.encode(c.get("message")));
        return SparkClient.JSON.createObjectNode();
      case "upload":
        return await(timeout, done -> client.uploadStream(new NioManagedBuffer(Messages.encode(c.get("message"))),
            new NioManagedBuffer(Received.unhex(c.get("data").asText())), rpc(done)));
      case "chunks":
        return chunks(c, timeout);
      case "stream":
        return await(timeout, done -> client.stream(c.get("stream").asText(), stream(done)));
      case "merged-meta":
        return await(timeout, done -> Reflect.call(client, "sendMergedBlockMetaReq", c.get("app").asText(),
            c.get("shuffle").asInt(), c.get("merge").asInt(), c.get("reduce").asInt(), merged(done)));
      case "active":
        return SparkClient.JSON.createObjectNode().put("active", client.isActive());
      case "await-closed":
        return SparkClient.JSON.createObjectNode()
            .put("closed", client.getChannel().closeFuture().await(timeout, TimeUnit.MILLISECONDS));
      default:
        throw new IllegalArgumentException("unknown command " + c);
    }
  }

  /** Requests all chunks named by "indices" back to back, as Spark's fetcher does; one answer each, in order. */
  private ObjectNode chunks(JsonNode c, long timeout) throws Exception {
    long stream = Long.parseLong(c.get("stream").asText());
    JsonNode indices = c.get("indices");
    ObjectNode[] outcomes = new ObjectNode[indices.size()];
    CountDownLatch latch = new CountDownLatch(outcomes.length);
    for (int i = 0; i < outcomes.length; i++) {
      int slot = i;
      Consumer<ObjectNode> done = outcome -> {
        outcomes[slot] = outcome;
        latch.countDown();
      };
      client.fetchChunk(stream, indices.get(i).asInt(), chunk(done));
    }
    latch.await(timeout, TimeUnit.MILLISECONDS);
    ObjectNode result = SparkClient.JSON.createObjectNode();
    ArrayNode list = result.putArray("chunks");
    for (ObjectNode outcome : outcomes) {
      list.add(outcome == null ? SparkClient.JSON.createObjectNode().put("timeout", true) : outcome);
    }
    return result;
  }

  private static ObjectNode await(long timeout, Consumer<Consumer<ObjectNode>> send) throws Exception {
    ObjectNode[] outcome = new ObjectNode[1];
    CountDownLatch latch = new CountDownLatch(1);
    send.accept(o -> {
      outcome[0] = o;
      latch.countDown();
    });
    return latch.await(timeout, TimeUnit.MILLISECONDS) ? outcome[0]
        : SparkClient.JSON.createObjectNode().put("timeout", true);
  }

  private static RpcResponseCallback rpc(Consumer<ObjectNode> done) {
    return new RpcResponseCallback() {
      @Override
      public void onSuccess(ByteBuffer response) {
        ObjectNode result = SparkClient.JSON.createObjectNode();
        result.put("hex", Received.hex(response.duplicate()));
        Messages.decode(response, result);
        done.accept(result);
      }

      @Override
      public void onFailure(Throwable e) {
        done.accept(Failures.describe(SparkClient.JSON.createObjectNode(), e));
      }
    };
  }

  private static ChunkReceivedCallback chunk(Consumer<ObjectNode> done) {
    return new ChunkReceivedCallback() {
      @Override
      public void onSuccess(int index, ManagedBuffer buffer) {
        ObjectNode result = SparkClient.JSON.createObjectNode().put("index", index);
        try {
          Received received = new Received();
          received.add(buffer.nioByteBuffer());
          done.accept(received.describe(result));
        } catch (java.io.IOException e) {
          done.accept(Failures.describe(result, e));
        }
      }

      @Override
      public void onFailure(int index, Throwable e) {
        done.accept(Failures.describe(SparkClient.JSON.createObjectNode().put("index", index), e));
      }
    };
  }

  private static StreamCallback stream(Consumer<ObjectNode> done) {
    Received received = new Received();
    return new StreamCallback() {
      @Override
      public void onData(String id, ByteBuffer bytes) {
        received.add(bytes);
        bytes.position(bytes.limit());
      }

      @Override
      public void onComplete(String id) {
        done.accept(received.describe(SparkClient.JSON.createObjectNode().put("stream", id)));
      }

      @Override
      public void onFailure(String id, Throwable e) {
        done.accept(Failures.describe(SparkClient.JSON.createObjectNode().put("stream", id), e));
      }
    };
  }

  /** A MergedBlockMetaResponseCallback, which came with 3.2. */
  private static Object merged(Consumer<ObjectNode> done) {
    Class<?> type;
    try {
      type = Class.forName("org.apache.spark.network.client.MergedBlockMetaResponseCallback");
    } catch (ClassNotFoundException e) {
      throw new UnsupportedOperationException("this Spark has no merged blocks", e);
    }
    return Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (self, method, args) -> {
      switch (method.getName()) {
        case "onSuccess":
          done.accept(SparkClient.JSON.createObjectNode().put("chunks", (Integer) args[0])
              .put("length", ((ManagedBuffer) args[1]).size()));
          return null;
        case "onFailure":
          done.accept(Failures.describe(SparkClient.JSON.createObjectNode(), (Throwable) args[0]));
          return null;
        default:
          return method.invoke(done, args);
      }
    });
  }
}
