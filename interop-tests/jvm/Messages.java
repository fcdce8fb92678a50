import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import org.apache.spark.network.shuffle.protocol.BlockTransferMessage;
import org.apache.spark.network.shuffle.protocol.BlocksRemoved;
import org.apache.spark.network.shuffle.protocol.CorruptionCause;
import org.apache.spark.network.shuffle.protocol.DiagnoseCorruption;
import org.apache.spark.network.shuffle.protocol.ExecutorShuffleInfo;
import org.apache.spark.network.shuffle.protocol.FetchShuffleBlockChunks;
import org.apache.spark.network.shuffle.protocol.FetchShuffleBlocks;
import org.apache.spark.network.shuffle.protocol.FinalizeShuffleMerge;
import org.apache.spark.network.shuffle.protocol.GetLocalDirsForExecutors;
import org.apache.spark.network.shuffle.protocol.LocalDirsForExecutors;
import org.apache.spark.network.shuffle.protocol.OpenBlocks;
import org.apache.spark.network.shuffle.protocol.PushBlockStream;
import org.apache.spark.network.shuffle.protocol.RegisterExecutor;
import org.apache.spark.network.shuffle.protocol.RemoveBlocks;
import org.apache.spark.network.shuffle.protocol.StreamHandle;
import org.apache.spark.network.shuffle.protocol.UploadBlock;
import org.apache.spark.network.shuffle.protocol.UploadBlockStream;

/** Block-transfer messages between JSON and Spark's own encoders. */
final class Messages {
  /** The bytes of {"type": …, fields}, or of {"hex": …} as they stand. */
  static ByteBuffer encode(JsonNode m) {
    if (m.has("hex")) {
      return Received.unhex(m.get("hex").asText());
    }
    try {
      return message(m).toByteBuffer();
    } catch (ReflectiveOperationException e) {
      throw new UnsupportedOperationException("this Spark has no " + m.get("type").asText(), e);
    }
  }

  private static BlockTransferMessage message(JsonNode m) throws ReflectiveOperationException {
    String app = text(m, "app");
    String exec = text(m, "exec");
    switch (m.get("type").asText()) {
      case "RegisterExecutor":
        return new RegisterExecutor(app, exec,
            new ExecutorShuffleInfo(Options.strings(m.get("dirs")), number(m, "sub_dirs"), text(m, "manager")));
      case "OpenBlocks":
        return new OpenBlocks(app, exec, Options.strings(m.get("blocks")));
      case "FetchShuffleBlocks":
        return new FetchShuffleBlocks(app, exec, number(m, "shuffle"), longs(m.get("maps")), lists(m.get("reduces")),
            m.get("batch").asBoolean());
      case "FetchShuffleBlockChunks":
        return new FetchShuffleBlockChunks(app, exec, number(m, "shuffle"), number(m, "merge"),
            ints(m.get("reduces")), lists(m.get("chunks")));
      case "RemoveBlocks":
        return new RemoveBlocks(app, exec, Options.strings(m.get("blocks")));
      case "GetLocalDirsForExecutors":
        return new GetLocalDirsForExecutors(app, Options.strings(m.get("execs")));
      case "DiagnoseCorruption":
        return new DiagnoseCorruption(app, exec, number(m, "shuffle"), m.get("map").asLong(), number(m, "reduce"),
            m.get("checksum").asLong(), text(m, "algorithm"));
      case "PushBlockStream":
        return new PushBlockStream(app, number(m, "attempt"), number(m, "shuffle"), number(m, "merge"),
            number(m, "map_index"), number(m, "reduce"), number(m, "index"));
      case "FinalizeShuffleMerge":
        return new FinalizeShuffleMerge(app, number(m, "attempt"), number(m, "shuffle"), number(m, "merge"));
      case "RemoveShuffleMerge": // since 3.4
        return (BlockTransferMessage) Class.forName("org.apache.spark.network.shuffle.protocol.RemoveShuffleMerge")
            .getConstructor(String.class, int.class, int.class, int.class)
            .newInstance(app, number(m, "attempt"), number(m, "shuffle"), number(m, "merge"));
      case "UploadBlock":
        return new UploadBlock(app, exec, text(m, "block"), new byte[0], new byte[0]);
      case "UploadBlockStream":
        return new UploadBlockStream(text(m, "block"), new byte[0]);
      case "StreamHandle":
        return new StreamHandle(m.get("stream").asLong(), number(m, "chunks"));
      case "BlocksRemoved":
        return new BlocksRemoved(number(m, "count"));
      default:
        throw new IllegalArgumentException("unknown message " + m);
    }
  }

  /** Adds the fields of an answer; an answer without bytes has the type "Empty". */
  static void decode(ByteBuffer bytes, ObjectNode into) {
    if (!bytes.hasRemaining()) {
      into.put("type", "Empty");
      return;
    }
    BlockTransferMessage message = BlockTransferMessage.Decoder.fromByteBuffer(bytes);
    into.put("type", message.getClass().getSimpleName());
    if (message instanceof StreamHandle) {
      into.put("stream", Long.toString(((StreamHandle) message).streamId));
      into.put("chunks", ((StreamHandle) message).numChunks);
    } else if (message instanceof BlocksRemoved) {
      into.put("count", ((BlocksRemoved) message).numRemovedBlocks);
    } else if (message instanceof CorruptionCause) {
      into.put("cause", ((CorruptionCause) message).cause.name());
    } else if (message instanceof LocalDirsForExecutors) {
      ObjectNode dirs = into.putObject("dirs");
      ((LocalDirsForExecutors) message).getLocalDirsByExec().forEach((exec, list) -> {
        ArrayNode array = dirs.putArray(exec);
        for (String dir : list) {
          array.add(dir);
        }
      });
    }
  }

  private static String text(JsonNode m, String field) {
    return m.has(field) ? m.get(field).asText() : null;
  }

  private static int number(JsonNode m, String field) {
    return m.get(field).asInt();
  }

  private static int[] ints(JsonNode array) {
    int[] out = new int[array.size()];
    for (int i = 0; i < out.length; i++) {
      out[i] = array.get(i).asInt();
    }
    return out;
  }

  private static long[] longs(JsonNode array) {
    long[] out = new long[array.size()];
    for (int i = 0; i < out.length; i++) {
      out[i] = array.get(i).asLong();
    }
    return out;
  }

  private static int[][] lists(JsonNode array) {
    int[][] out = new int[array.size()][];
    for (int i = 0; i < out.length; i++) {
      out[i] = ints(array.get(i));
    }
    return out;
  }
}
