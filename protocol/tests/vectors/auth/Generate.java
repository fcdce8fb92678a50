package org.apache.spark.network.crypto;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.FileRegion;
import io.netty.channel.embedded.EmbeddedChannel;
import java.io.ByteArrayOutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.nio.channels.Channels;
import java.nio.channels.WritableByteChannel;
import java.security.MessageDigest;
import java.security.Provider;
import java.security.SecureRandomSpi;
import java.security.Security;
import java.util.ArrayDeque;
import java.util.HexFormat;
import java.util.Map;
import java.util.Properties;
import java.util.StringJoiner;
import javax.crypto.spec.SecretKeySpec;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;

/**
 * Prints known answers of the X25519 handshake and of the session ciphers as JSON, made by Spark's own
 * classes with the random source replaced by fixed bytes. How to run it: README.md beside this file.
 *
 * <p>It lies in Spark's package because AuthEngine and AuthMessage are visible there only.
 */
public final class Generate {
  private static final String APP = "app-1";
  private static final String SECRET = "secret";

  public static void main(String[] args) throws Exception {
    String version = args[0];
    boolean hasVersions = exists("org.apache.spark.network.crypto.TransportCipherUtil");
    Fixed.install();

    StringJoiner handshakes = list();
    String[] engines = hasVersions ? new String[] {"1", "2"} : new String[] {"1"};
    String[] keys = new String[engines.length];
    for (int i = 0; i < engines.length; i++) {
      TransportCipher cipher = handshake(engines[i], handshakes);
      keys[i] = hex(((SecretKeySpec) field(cipher, "key")).getEncoded());
    }

    StringJoiner ctr = list();
    StringJoiner gcm = list();
    // Up to 3.3 no handshake leads to a 16-byte key, but the cipher class takes one.
    String v2Key = "7c8ad99ed96bd9a6e121dc6886425e23";
    for (String key : new String[] {keys[0], v2Key}) {
      ctr.add(ctr(hasVersions, key));
      // Where it loses messages, lengths of some of them are wrong; nothing before 3.4 has it.
      if (hasVersions && !version.matches("3\\.4\\..*|3\\.5\\.[0-8]|4\\.0\\.[0-3]|4\\.1\\.[0-2]")) {
        gcm.add(gcm(key));
      }
    }

    System.out.println("{\n  \"spark\": \"" + version + "\",\n  \"handshakes\": " + handshakes
        + ",\n  \"ctr\": " + ctr + ",\n  \"gcm\": " + gcm + "\n}");
  }

  /** Both ends of one handshake; returns the client's session cipher. */
  private static TransportCipher handshake(String engine, StringJoiner out) throws Exception {
    TransportConf conf = new TransportConf("shuffle",
        new MapConfigProvider(Map.of("spark.network.crypto.authEngineVersion", engine)));
    String[] client = {run(0x20, 32), run(0x40, 16), run(0x60, 12)};
    String[] server = {run(0x80, 32), run(0xa0, 16), run(0xc0, 12)};

    AuthEngine initiator = new AuthEngine(APP, SECRET, conf);
    AuthEngine responder = new AuthEngine(APP, SECRET, conf);
    Fixed.next(client);
    byte[] challenge = encode(initiator.challenge());
    Fixed.next(server);
    byte[] response = encode(responder.response(decode(challenge)));
    initiator.deriveSessionCipher(decode(challenge), decode(response));

    TransportCipher cipher = initiator.sessionCipher();
    out.add(object(
        "engine_version", engine,
        "app_id", text(APP),
        "secret", text(SECRET),
        "client_random", text(String.join("", client)),
        "server_random", text(String.join("", server)),
        "challenge", text(hex(challenge)),
        "response", text(hex(response)),
        "key", text(hex(((SecretKeySpec) field(cipher, "key")).getEncoded())),
        "input_iv", text(hex((byte[]) field(cipher, "inIv"))),
        "output_iv", text(hex((byte[]) field(cipher, "outIv")))));
    return cipher;
  }

  /** One CTR stream whose counter wraps around, in several writes. */
  private static String ctr(boolean hasVersions, String key) throws Exception {
    String iv = "ff".repeat(15) + "fe";
    EmbeddedChannel channel = new EmbeddedChannel();
    ctrCipher(hasVersions, key, iv).addToChannel(channel);

    StringJoiner writes = list();
    writes.add(sealed(channel, bytes("000000000000001a03000000000000002a0000000568656c6c6f"), -1));
    writes.add(sealed(channel, "x".getBytes(), -1));
    writes.add(sealed(channel, pattern(70000), 70000));
    writes.add(sealed(channel, bytes("000000000000000f09000000026869"), -1));
    return object("key", text(key), "iv", text(iv), "writes", writes.toString());
  }

  private static TransportCipher ctrCipher(boolean hasVersions, String key, String iv) throws Exception {
    SecretKeySpec spec = new SecretKeySpec(bytes(key), "AES");
    if (hasVersions) {
      return (TransportCipher) make("org.apache.spark.network.crypto.CtrTransportCipher",
          new Properties(), spec, bytes(iv), bytes(iv));
    }
    return (TransportCipher) make("org.apache.spark.network.crypto.TransportCipher",
        new Properties(), "AES/CTR/NoPadding", spec, bytes(iv), bytes(iv));
  }

  /** Messages of one GCM direction, sizes around the edges of a segment. */
  private static String gcm(String key) throws Exception {
    SecretKeySpec spec = new SecretKeySpec(bytes(key), "AES");
    TransportCipher cipher =
        (TransportCipher) make("org.apache.spark.network.crypto.GcmTransportCipher", spec);
    EmbeddedChannel channel = new EmbeddedChannel();
    cipher.addToChannel(channel);

    int n = key.length() / 2;
    byte[] request = bytes("000000000000001a03000000000000002a0000000568656c6c6f");
    StringJoiner messages = list();
    messages.add(message(channel, n, 0x20, 0x40, request, -1));
    messages.add(message(channel, n, 0x60, 0x80, new byte[0], -1));
    messages.add(message(channel, n, 0xa0, 0xc0, "x".getBytes(), -1));
    int[] sizes = {32752, 32728, 32729, 32753, 70000, 65504, 32712, 32713};
    int[][] random = {{0xe0, 0}, {0x20, 0x40}, {0x60, 0x80}, {0xa0, 0xc0}, {0xe0, 0}, {0x20, 0x40},
        {0x60, 0x80}, {0xa0, 0xc0}};
    for (int i = 0; i < sizes.length; i++) {
      messages.add(message(channel, n, random[i][0], random[i][1], pattern(sizes[i]), sizes[i]));
    }
    return object("key", text(key), "messages", messages.toString());
  }

  private static String message(EmbeddedChannel channel, int n, int salt, int prefix, byte[] plain, int size)
      throws Exception {
    Fixed.next(run(salt, n), run(prefix, 7));
    return sealed(channel, plain, size).replace("{", "{\"random\": " + text(run(salt, n) + run(prefix, 7)) + ", ");
  }

  /** Writes to the channel and collects what would go to the socket. */
  private static String sealed(EmbeddedChannel channel, byte[] plain, int size) throws Exception {
    ByteArrayOutputStream collected = new ByteArrayOutputStream();
    WritableByteChannel target = Channels.newChannel(collected);
    channel.writeOutbound(Unpooled.wrappedBuffer(plain));
    for (Object out = channel.readOutbound(); out != null; out = channel.readOutbound()) {
      FileRegion region = (FileRegion) out;
      while (region.transferred() < region.count()) {
        region.transferTo(target, region.transferred());
      }
    }
    byte[] sealed = collected.toByteArray();
    return size < 0
        ? object("plain", text(hex(plain)), "sealed", text(hex(sealed)))
        : object("pattern", Integer.toString(size), "sealed_len", Integer.toString(sealed.length),
            "sealed_sha256", text(hex(MessageDigest.getInstance("SHA-256").digest(sealed))));
  }

  private static byte[] pattern(int size) {
    byte[] out = new byte[size];
    for (int i = 0; i < size; i++) {
      out[i] = (byte) (7 * i + i / 256);
    }
    return out;
  }

  private static byte[] encode(AuthMessage message) {
    ByteBuf buffer = Unpooled.buffer(message.encodedLength());
    message.encode(buffer);
    byte[] out = new byte[buffer.readableBytes()];
    buffer.readBytes(out);
    return out;
  }

  private static AuthMessage decode(byte[] bytes) {
    return AuthMessage.decodeMessage(java.nio.ByteBuffer.wrap(bytes));
  }

  private static Object make(String name, Object... args) throws Exception {
    for (Constructor<?> constructor : Class.forName(name).getConstructors()) {
      if (constructor.getParameterCount() == args.length) {
        return constructor.newInstance(args);
      }
    }
    throw new NoSuchMethodException(name);
  }

  private static Object field(Object object, String name) throws Exception {
    Field field = object.getClass().getDeclaredField(name);
    field.setAccessible(true);
    return field.get(object);
  }

  private static boolean exists(String name) {
    try {
      Class.forName(name);
      return true;
    } catch (ClassNotFoundException e) {
      return false;
    }
  }

  /** Bytes that count up from a start. */
  private static String run(int start, int length) {
    byte[] out = new byte[length];
    for (int i = 0; i < length; i++) {
      out[i] = (byte) (start + i);
    }
    return hex(out);
  }

  private static String hex(byte[] bytes) {
    return HexFormat.of().formatHex(bytes);
  }

  private static byte[] bytes(String hex) {
    return HexFormat.of().parseHex(hex);
  }

  private static String text(String content) {
    return "\"" + content + "\"";
  }

  private static StringJoiner list() {
    return new StringJoiner(",\n    ", "[\n    ", "\n  ]").setEmptyValue("[]");
  }

  private static String object(String... namesAndValues) {
    StringJoiner fields = new StringJoiner(", ", "{", "}");
    for (int i = 0; i < namesAndValues.length; i += 2) {
      fields.add(text(namesAndValues[i]) + ": " + namesAndValues[i + 1]);
    }
    return fields.toString();
  }

  /** The default SecureRandom of this JVM: says what it was told to say, each value for one request. */
  public static final class Fixed extends SecureRandomSpi {
    private static final ArrayDeque<byte[]> QUEUE = new ArrayDeque<>();

    static void install() {
      Provider provider = new Provider("Fixed", "1", "fixed bytes for known answers") {};
      provider.put("SecureRandom.Fixed", Fixed.class.getName());
      Security.insertProviderAt(provider, 1);
      // Tink draws once when it makes its generator for a thread.
      com.google.crypto.tink.subtle.Random.randBytes(1);
    }

    static void next(String... values) {
      if (!QUEUE.isEmpty()) {
        throw new IllegalStateException("random bytes were not used: " + QUEUE.size());
      }
      for (String value : values) {
        QUEUE.add(Generate.bytes(value));
      }
    }

    @Override
    protected void engineNextBytes(byte[] out) {
      byte[] next = QUEUE.poll();
      if (next == null) {
        return;
      }
      if (next.length != out.length) {
        throw new IllegalStateException("asked for " + out.length + " random bytes, not " + next.length);
      }
      System.arraycopy(next, 0, out, 0, out.length);
    }

    @Override
    protected void engineSetSeed(byte[] seed) {}

    @Override
    protected byte[] engineGenerateSeed(int count) {
      return new byte[count];
    }
  }
}
