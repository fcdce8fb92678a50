import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.zip.CRC32;

/** Bytes that came in, reduced to length, CRC-32 and SHA-256; short ones are kept whole as hex. */
final class Received {
  private static final int KEPT = 4096;
  private final CRC32 crc = new CRC32();
  private final MessageDigest sha;
  private final StringBuilder head = new StringBuilder();
  private long length;

  Received() {
    try {
      sha = MessageDigest.getInstance("SHA-256");
    } catch (java.security.NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  synchronized void add(ByteBuffer bytes) {
    length += bytes.remaining();
    if (length <= KEPT) {
      head.append(hex(bytes.duplicate()));
    }
    sha.update(bytes.duplicate());
    crc.update(bytes.duplicate());
  }

  synchronized ObjectNode describe(ObjectNode into) {
    into.put("length", length).put("crc32", crc.getValue()).put("sha256", hex(ByteBuffer.wrap(sha.digest())));
    if (length <= KEPT) {
      into.put("hex", head.toString());
    }
    return into;
  }

  static String hex(ByteBuffer bytes) {
    StringBuilder out = new StringBuilder(bytes.remaining() * 2);
    while (bytes.hasRemaining()) {
      out.append(String.format("%02x", bytes.get()));
    }
    return out.toString();
  }

  static ByteBuffer unhex(String text) {
    byte[] out = new byte[text.length() / 2];
    for (int i = 0; i < out.length; i++) {
      out[i] = (byte) Integer.parseInt(text.substring(2 * i, 2 * i + 2), 16);
    }
    return ByteBuffer.wrap(out);
  }
}
