import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkEnv;
import org.apache.spark.security.CryptoStreamUtils;

/**
 * Spark's own spark.io.encryption: the key of a running application, and streams over files.
 *
 * Arguments are groups of four: read or write, the key in hexadecimal, the encrypted file, the plain file. Ends with 0
 * when all are done.
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

  private static byte[] bytes(String hex) {
    byte[] bytes = new byte[hex.length() / 2];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
    }
    return bytes;
  }
}
