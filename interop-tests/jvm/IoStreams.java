import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.UUID;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkEnv;
import org.apache.spark.security.CryptoStreamUtils;
import org.apache.spark.serializer.JavaSerializer;
import org.apache.spark.serializer.SerializerManager;
import org.apache.spark.storage.BlockId;
import org.apache.spark.storage.TempShuffleBlockId;
import scala.Option;

/**
 * Spark's own spark.io.encryption: the key of a running application, and streams over files.
 *
 * Arguments are groups of four: what, the key in hexadecimal, the encrypted file, the plain file. What is read or write;
 * or spill, which writes the plain file as a spill of three segments, and beside the plain file its compressed streams
 * (.lz4). Ends with 0 when all are done.
 */
public final class IoStreams {
  /** The application's key; for a driver, which py4j cannot ask in every version. */
  public static byte[] key() {
    return (byte[]) SparkEnv.get().securityManager().getIOEncryptionKey().get();
  }

  public static void main(String[] args) throws Exception {
    SparkConf conf = new SparkConf(false);
    for (int i = 0; i < args.length; i += 4) {
      byte[] key = bytes(args[i + 1]);
      Path sealed = Path.of(args[i + 2]);
      Path plain = Path.of(args[i + 3]);
      if (args[i].equals("read")) {
        try (InputStream in = CryptoStreamUtils.createCryptoInputStream(Files.newInputStream(sealed), conf, key)) {
          Files.write(plain, in.readAllBytes());
        }
      } else if (args[i].equals("spill")) {
        spill(conf, key, Files.readAllBytes(plain), sealed, Path.of(args[i + 3] + ".lz4"));
      } else {
        try (OutputStream out = CryptoStreamUtils.createCryptoOutputStream(Files.newOutputStream(sealed), conf, key)) {
          byte[] all = Files.readAllBytes(plain);
          for (int at = 0; at < all.length; at += 777) {
            out.write(Arrays.copyOfRange(all, at, Math.min(all.length, at + 777)));
          }
        }
      }
    }
  }

  /** As DiskBlockObjectWriter does it: each segment is wrapped anew. */
  private static void spill(SparkConf conf, byte[] key, byte[] all, Path sealed, Path compressed) throws IOException {
    SerializerManager manager = new SerializerManager(new JavaSerializer(conf), conf, Option.apply(key));
    BlockId block = new TempShuffleBlockId(UUID.randomUUID());
    try (OutputStream spill = Files.newOutputStream(sealed); OutputStream streams = Files.newOutputStream(compressed)) {
      for (int segment = 0; segment < 3; segment++) {
        byte[] part = Arrays.copyOfRange(all, all.length * segment / 3, all.length * (segment + 1) / 3);
        try (OutputStream out = manager.wrapStream(block, keptOpen(spill))) {
          out.write(part);
        }
        try (OutputStream out = manager.wrapForCompression(block, keptOpen(streams))) {
          out.write(part);
        }
      }
    }
  }

  private static OutputStream keptOpen(OutputStream out) {
    return new FilterOutputStream(out) {
      @Override
      public void write(byte[] bytes, int offset, int length) throws IOException {
        out.write(bytes, offset, length);
      }

      @Override
      public void close() throws IOException {
        flush();
      }
    };
  }

  private static byte[] bytes(String hex) {
    byte[] bytes = new byte[hex.length() / 2];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
    }
    return bytes;
  }
}
