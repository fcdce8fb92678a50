package org.apache.spark.network.crypto;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.FileRegion;
import io.netty.channel.embedded.EmbeddedChannel;
import java.io.ByteArrayOutputStream;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.WritableByteChannel;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.StringJoiner;
import org.apache.commons.crypto.random.CryptoRandom;
import org.apache.spark.network.protocol.Encodable;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;

/**
 * Prints known answers of the handshake of Spark 2.2 to 3.0 as JSON, made by both ends of Spark's own AuthEngine with the
 * random source replaced by fixed bytes. How to run it: README.md beside this file.
 *
 * <p>It lies in Spark's package because AuthEngine is visible there only.
 */
public final class GenerateLegacy {
  public static void main(String[] args) throws Exception {
    StringJoiner handshakes = new StringJoiner(",\n    ", "[\n    ", "\n  ]");
    String plain = run(0x40, 32);
    handshakes.add(handshake("app-1", "secret", "PBKDF2WithHmacSHA1", 1024, 128, plain));
    handshakes.add(handshake("app-1", "secret", "PBKDF2WithHmacSHA1", 1024, 192, plain));
    handshakes.add(handshake("app-1", "secret", "PBKDF2WithHmacSHA1", 1024, 256, plain));
    handshakes.add(handshake("app-1", "secret", "PBKDF2WithHmacSHA256", 2048, 128, plain));
    handshakes.add(handshake("app-1", "secret", "PBKDF2WithHmacSHA512", 7, 256, plain));
    handshakes.add(handshake("sparkSaslUser", "gr\u00fc\u00dfe".repeat(30), "PBKDF2WithHmacSHA1", 1, 128, plain));
    for (String edge : new String[] {"ff".repeat(16), "7f" + "ff".repeat(15), "00".repeat(15) + "01",
        "80" + "00".repeat(15), "ff80" + "00".repeat(14), "ff".repeat(15) + "fe", "00".repeat(15) + "ff"}) {
      handshakes.add(handshake("app-1", "secret", "PBKDF2WithHmacSHA1", 16, 128, edge));
    }
    System.out.println("{\n  \"spark\": " + text(args[0]) + ",\n  \"handshakes\": " + handshakes + "\n}");
  }

  /** Both ends of one handshake, and a write in each direction of the session. */
  private static String handshake(String app, String secret, String kdf, int iterations, int bits, String own)
      throws Exception {
    Map<String, String> settings = new HashMap<>();
    settings.put("spark.network.crypto.keyFactoryAlgorithm", kdf);
    settings.put("spark.network.crypto.keyFactoryIterations", Integer.toString(iterations));
    settings.put("spark.network.crypto.keyLength", Integer.toString(bits));
    TransportConf conf = new TransportConf("shuffle", new MapConfigProvider(settings));
    int length = bits / 8;
    String[] client = {run(0x20, length), own.substring(0, 2 * length)};
    String[] server = {run(0x60, length), run(0x80, 16), run(0xa0, 16)};

    AuthEngine initiator = new AuthEngine(app, secret, conf);
    AuthEngine responder = new AuthEngine(app, secret, conf);
    replaceRandom(initiator, client);
    replaceRandom(responder, server);
    byte[] challenge = encode(initiator.challenge());
    byte[] response = encode(responder.respond(ClientChallenge.decodeMessage(ByteBuffer.wrap(challenge))));
    initiator.validate(ServerResponse.decodeMessage(ByteBuffer.wrap(response)));

    byte[] request = HexFormat.of().parseHex("000000000000001a03000000000000002a0000000568656c6c6f");
    return object(
        "app_id", text(app),
        "secret", text(secret),
        "kdf", text(kdf),
        "iterations", Integer.toString(iterations),
        "key_bits", Integer.toString(bits),
        "client_random", text(String.join("", client)),
        "server_random", text(String.join("", server)),
        "challenge", text(hex(challenge)),
        "response", text(hex(response)),
        "plain", text(hex(request)),
        "to_server", text(hex(sealed(initiator.sessionCipher(), request))),
        "to_client", text(hex(sealed(responder.sessionCipher(), request))));
  }

  private static void replaceRandom(AuthEngine engine, String... values) throws Exception {
    ArrayDeque<byte[]> queue = new ArrayDeque<>();
    for (String value : values) {
      queue.add(HexFormat.of().parseHex(value));
    }
    Field field = AuthEngine.class.getDeclaredField("random");
    field.setAccessible(true);
    field.set(engine, new CryptoRandom() {
      @Override
      public void nextBytes(byte[] out) {
        byte[] next = queue.remove();
        if (next.length != out.length) {
          throw new IllegalStateException("asked for " + out.length + " random bytes, not " + next.length);
        }
        System.arraycopy(next, 0, out, 0, out.length);
      }

      @Override
      public void close() {}
    });
  }

  /** Writes to a channel and collects what would go to the socket. */
  private static byte[] sealed(TransportCipher cipher, byte[] plain) throws Exception {
    EmbeddedChannel channel = new EmbeddedChannel();
    cipher.addToChannel(channel);
    ByteArrayOutputStream collected = new ByteArrayOutputStream();
    WritableByteChannel target = Channels.newChannel(collected);
    channel.writeOutbound(Unpooled.wrappedBuffer(plain));
    for (Object out = channel.readOutbound(); out != null; out = channel.readOutbound()) {
      FileRegion region = (FileRegion) out;
      while (region.transferred() < region.count()) {
        region.transferTo(target, region.transferred());
      }
    }
    return collected.toByteArray();
  }

  private static byte[] encode(Encodable message) {
    ByteBuf buffer = Unpooled.buffer(message.encodedLength());
    message.encode(buffer);
    byte[] out = new byte[buffer.readableBytes()];
    buffer.readBytes(out);
    return out;
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

  private static String text(String content) {
    return "\"" + content + "\"";
  }

  private static String object(String... namesAndValues) {
    StringJoiner fields = new StringJoiner(", ", "{", "}");
    for (int i = 0; i < namesAndValues.length; i += 2) {
      fields.add(text(namesAndValues[i]) + ": " + namesAndValues[i + 1]);
    }
    return fields.toString();
  }
}
