import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.util.Map;
import org.apache.spark.network.shuffle.protocol.BlockTransferMessage;
import org.apache.spark.network.shuffle.protocol.ExecutorShuffleInfo;
import org.apache.spark.network.shuffle.protocol.OpenBlocks;
import org.apache.spark.network.shuffle.protocol.RegisterExecutor;
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
    return message(m).toByteBuffer();
  }

  private static BlockTransferMessage message(JsonNode m) {
    String app = text(m, "app");
    String exec = text(m, "exec");
    switch (m.get("type").asText()) {
      case "RegisterExecutor":
        return new RegisterExecutor(app, exec,
            new ExecutorShuffleInfo(Options.strings(m.get("dirs")), number(m, "sub_dirs"), text(m, "manager")));
      case "OpenBlocks":
        return new OpenBlocks(app, exec, Options.strings(m.get("blocks")));
      case "FetchShuffleBlocks":
        return make("FetchShuffleBlocks", app, exec, number(m, "shuffle"), longs(m.get("maps")), lists(m.get("reduces")),
            m.get("batch").asBoolean());
      case "FetchShuffleBlockChunks":
        return make("FetchShuffleBlockChunks", app, exec, number(m, "shuffle"), number(m, "merge"),
            ints(m.get("reduces")), lists(m.get("chunks")));
      case "RemoveBlocks":
        return make("RemoveBlocks", app, exec, Options.strings(m.get("blocks")));
      case "GetLocalDirsForExecutors":
        return make("GetLocalDirsForExecutors", app, Options.strings(m.get("execs")));
      case "DiagnoseCorruption":
        return make("DiagnoseCorruption", app, exec, number(m, "shuffle"), m.get("map").asLong(), number(m, "reduce"),
            m.get("checksum").asLong(), text(m, "algorithm"));
      case "PushBlockStream":
        return make("PushBlockStream", app, number(m, "attempt"), number(m, "shuffle"), number(m, "merge"),
            number(m, "map_index"), number(m, "reduce"), number(m, "index"));
      case "FinalizeShuffleMerge":
        return make("FinalizeShuffleMerge", app, number(m, "attempt"), number(m, "shuffle"), number(m, "merge"));
      case "RemoveShuffleMerge":
        return make("RemoveShuffleMerge", app, number(m, "attempt"), number(m, "shuffle"), number(m, "merge"));
      case "UploadBlock":
        return new UploadBlock(app, exec, text(m, "block"), new byte[0], new byte[0]);
      case "UploadBlockStream":
        return new UploadBlockStream(text(m, "block"), new byte[0]);
      case "StreamHandle":
        return new StreamHandle(m.get("stream").asLong(), number(m, "chunks"));
      case "BlocksRemoved":
        return make("BlocksRemoved", number(m, "count"));
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
    String type = message.getClass().getSimpleName();
    into.put("type", type);
    switch (type) {
      case "StreamHandle":
        into.put("stream", Long.toString(((StreamHandle) message).streamId));
        into.put("chunks", ((StreamHandle) message).numChunks);
        return;
      case "BlocksRemoved":
        into.put("count", (Integer) Reflect.field(message, "numRemovedBlocks"));
        return;
      case "CorruptionCause":
        into.put("cause", ((Enum<?>) Reflect.field(message, "cause")).name());
        return;
      case "LocalDirsForExecutors":
        putDirs((Map<?, ?>) Reflect.call(message, "getLocalDirsByExec"), into);
        return;
      default: // the type says all
    }
  }

  /** Directories by executor, a map to arrays of strings. */
  static void putDirs(Map<?, ?> byExecutor, ObjectNode into) {
    ObjectNode dirs = into.putObject("dirs");
    byExecutor.forEach((exec, list) -> {
      ArrayNode array = dirs.putArray((String) exec);
      for (String dir : (String[]) list) {
        array.add(dir);
      }
    });
  }

  /** A message that came with some release: most with 3.0, those of merged shuffles with 3.2 and 3.4. */
  private static BlockTransferMessage make(String type, Object... args) {
    return (BlockTransferMessage) Reflect.make("org.apache.spark.network.shuffle.protocol." + type, args);
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
