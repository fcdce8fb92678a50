package suites;

import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.IntFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.apache.spark.network.TransportContext;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.buffer.NioManagedBuffer;
import org.apache.spark.network.client.ChunkReceivedCallback;
import org.apache.spark.network.client.MergedBlockMetaResponseCallback;
import org.apache.spark.network.client.RpcResponseCallback;
import org.apache.spark.network.client.TransportClient;
import org.apache.spark.network.client.TransportClientFactory;
import org.apache.spark.network.server.NoOpRpcHandler;
import org.apache.spark.network.shuffle.MergedBlockMeta;
import org.apache.spark.network.shuffle.protocol.BlockTransferMessage;
import org.apache.spark.network.shuffle.protocol.StreamHandle;
import org.apache.spark.network.util.TransportConf;

/** One connection of Spark's own client to a service. A refusal is thrown as the service threw it. */
public final class Wire implements Closeable {
  private static final long LIMIT_MS = 60_000;
  /** The first exception that a remote stack trace names, and its text. */
  private static final Pattern FAILURE = Pattern.compile("(java\\.[\\w.$]*(?:Exception|Error)): ([^\\n]*)");
  private final TransportContext context;
  private final TransportClientFactory factory;
  private final TransportClient client;

  public Wire(TransportConf conf, Service service) {
    context = new TransportContext(conf, new NoOpRpcHandler(), true);
    factory = context.createClientFactory();
    try {
      client = factory.createUnmanagedClient("127.0.0.1", service.port());
    } catch (IOException | InterruptedException e) {
      throw new IllegalStateException("the service takes no connection", e);
    }
  }

  TransportClient client() {
    return client;
  }

  /** Sends a request and waits for its answer. */
  public ByteBuffer ask(ByteBuffer message) {
    Answer answer = new Answer();
    client.sendRpc(message, answer);
    return answer.get();
  }

  /** Sends a request and waits for its answer. */
  public ByteBuffer ask(BlockTransferMessage message) {
    return ask(message.toByteBuffer());
  }

  /** Sends a request and waits for its answer, which is a message. */
  public BlockTransferMessage talk(BlockTransferMessage message) {
    return BlockTransferMessage.Decoder.fromByteBuffer(ask(message));
  }

  /** Sends a message without an answer. */
  public void tell(BlockTransferMessage message) {
    client.send(message.toByteBuffer());
  }

  /** Opens blocks and fetches all of them, in their order. */
  public List<byte[]> fetch(BlockTransferMessage open) {
    StreamHandle handle = (StreamHandle) talk(open);
    List<byte[]> chunks = new ArrayList<>();
    for (int i = 0; i < handle.numChunks; i++) {
      chunks.add(chunk(handle.streamId, i));
    }
    return chunks;
  }

  /**
   * The chunks of an opened stream, each fetched when it is asked for. Where one came back as it was wanted, that is
   * shown instead of its copy; a chunk that fails is null.
   */
  public Iterator<ManagedBuffer> chunks(
      ByteBuffer opened, IntFunction<ManagedBuffer> wanted, Runnable fetched) {
    StreamHandle handle = (StreamHandle) BlockTransferMessage.Decoder.fromByteBuffer(opened.duplicate());
    return IntStream.range(0, handle.numChunks).mapToObj(index -> {
      byte[] bytes;
      try {
        bytes = chunk(handle.streamId, index);
      } catch (RuntimeException failed) {
        return null;
      }
      fetched.run();
      ManagedBuffer whole = wanted.apply(index);
      try {
        return whole != null && Arrays.equals(bytes(whole), bytes)
            ? whole : (ManagedBuffer) new NioManagedBuffer(ByteBuffer.wrap(bytes));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }).iterator();
  }

  private byte[] chunk(long stream, int index) {
    CompletableFuture<byte[]> received = new CompletableFuture<>();
    client.fetchChunk(stream, index, new ChunkReceivedCallback() {
      @Override
      public void onSuccess(int chunk, ManagedBuffer buffer) {
        try {
          received.complete(bytes(buffer));
        } catch (IOException e) {
          received.completeExceptionally(e);
        }
      }

      @Override
      public void onFailure(int chunk, Throwable e) {
        received.completeExceptionally(e);
      }
    });
    return await(received);
  }

  /** The metadata of a merged partition. */
  public MergedBlockMeta meta(String app, int shuffle, int merge, int reduce) {
    CompletableFuture<MergedBlockMeta> received = new CompletableFuture<>();
    client.sendMergedBlockMetaReq(app, shuffle, merge, reduce, new MergedBlockMetaResponseCallback() {
      @Override
      public void onSuccess(int chunks, ManagedBuffer bitmaps) {
        try {
          received.complete(new MergedBlockMeta(chunks, new NioManagedBuffer(ByteBuffer.wrap(bytes(bitmaps)))));
        } catch (IOException e) {
          received.completeExceptionally(e);
        }
      }

      @Override
      public void onFailure(Throwable e) {
        received.completeExceptionally(e);
      }
    });
    return await(received);
  }

  /** A copy of the bytes of a buffer. */
  public static byte[] bytes(ManagedBuffer buffer) throws IOException {
    ByteBuffer all = buffer.nioByteBuffer().duplicate();
    byte[] bytes = new byte[all.remaining()];
    all.get(bytes);
    return bytes;
  }

  static <T> T await(CompletableFuture<T> answer) {
    try {
      return answer.get(LIMIT_MS, TimeUnit.MILLISECONDS);
    } catch (ExecutionException e) {
      throw asThere(e.getCause());
    } catch (InterruptedException | TimeoutException e) {
      throw new IllegalStateException("no answer", e);
    }
  }

  /** The exception that the service threw, as far as its text tells. */
  private static RuntimeException asThere(Throwable failure) {
    Matcher matcher = FAILURE.matcher(String.valueOf(failure.getMessage()));
    if (matcher.find()) {
      try {
        Object made = Class.forName(matcher.group(1)).getConstructor(String.class).newInstance(matcher.group(2));
        if (made instanceof RuntimeException) {
          return (RuntimeException) made;
        }
      } catch (ReflectiveOperationException unknown) {
        // told in the words of the transport, below
      }
    }
    return new RuntimeException(failure.getMessage(), failure);
  }

  @Override
  public void close() {
    client.close();
    factory.close();
    context.close();
  }

  /** An answer that is waited for. */
  static final class Answer implements RpcResponseCallback {
    private final CompletableFuture<ByteBuffer> answer = new CompletableFuture<>();

    @Override
    public void onSuccess(ByteBuffer response) {
      ByteBuffer copy = ByteBuffer.allocate(response.remaining());
      copy.put(response).flip();
      answer.complete(copy);
    }

    @Override
    public void onFailure(Throwable e) {
      answer.completeExceptionally(e);
    }

    ByteBuffer get() {
      return await(answer);
    }
  }
}
