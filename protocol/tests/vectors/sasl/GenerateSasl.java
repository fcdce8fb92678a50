package org.apache.spark.network.sasl;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.DefaultFileRegion;
import io.netty.channel.FileRegion;
import io.netty.channel.embedded.EmbeddedChannel;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.nio.channels.Channels;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.StringJoiner;

/**
 * Prints known answers of SASL DIGEST-MD5 and its privacy layer as JSON, made by both ends of Spark's own classes. The
 * nonces are the JDK's own, so every run prints others. How to run it: README.md beside this file.
 *
 * <p>It lies in Spark's package because SaslEncryption and SaslMessage are visible there only.
 */
public final class GenerateSasl {
  private static final String ALL = "3des,rc4,des,rc4-56,rc4-40";

  public static void main(String[] args) throws Exception {
    StringJoiner exchanges = list();
    String generated = "0123456789abcdef".repeat(4);
    for (String secret : new String[] {"secret", "k".repeat(57), generated, "k".repeat(114), "gr\u00fc\u00dfe"}) {
      exchanges.add(exchange(secret, null, false));
      exchanges.add(exchange(secret, "3des", false));
    }
    for (String cipher : ALL.split(",")) {
      exchanges.add(exchange("secret", cipher, true));
    }
    System.out.println("{\n  \"spark\": " + text(args[0]) + ",\n  \"exchanges\": " + exchanges + "\n}");
  }

  /** One exchange; with a cipher, some writes in each direction. */
  private static String exchange(String secret, String cipher, boolean alwaysEncrypt) throws Exception {
    SecretKeyHolder holder = new SecretKeyHolder() {
      @Override
      public String getSaslUser(String appId) {
        return "sparkSaslUser";
      }

      @Override
      public String getSecretKey(String appId) {
        return secret;
      }
    };
    SparkSaslServer server = new SparkSaslServer("app-1", holder, alwaysEncrypt);
    SparkSaslClient client = new SparkSaslClient("app-1", holder, cipher != null);

    byte[] first = client.firstToken();
    byte[] challenge = server.response(first);
    // The client takes the strongest that it sees: so it sees one.
    String seen = ascii(challenge);
    if (cipher != null) {
      seen = seen.replace(ALL, cipher);
    }
    byte[] response = client.response(seen.getBytes(StandardCharsets.UTF_8));
    byte[] answer = server.response(response);
    client.response(answer);
    if (!client.isComplete() || !server.isComplete()) {
      throw new IllegalStateException("the exchange is not complete");
    }

    StringJoiner fields = new StringJoiner(",\n     ", "{", "}");
    fields.add("\"secret\": " + text(secret));
    fields.add("\"cipher\": " + (cipher == null ? "null" : text(cipher)));
    fields.add("\"first\": " + text(hex(message(first))));
    fields.add("\"challenge\": " + quoted(ascii(challenge)));
    fields.add("\"seen\": " + quoted(seen));
    fields.add("\"response\": " + quoted(ascii(response)));
    fields.add("\"response_message\": " + text(hex(message(response))));
    fields.add("\"answer\": " + text(ascii(answer)));
    if (cipher != null) {
      boolean isShort = !alwaysEncrypt;
      fields.add("\"to_server\": " + writes(client, isShort));
      fields.add("\"to_client\": " + writes(server, isShort));
    }
    return fields.toString();
  }

  private static String writes(SaslEncryptionBackend backend, boolean isShort) throws Exception {
    EmbeddedChannel channel = new EmbeddedChannel();
    SaslEncryption.addToChannel(channel, backend, 64 * 1024);
    StringJoiner writes = list();
    for (String plain : new String[] {"hello", "", "x", "12345", "123456", "0123456789abcdef"}) {
      writes.add(sealed(channel, plain.getBytes(StandardCharsets.UTF_8), -1));
    }
    if (!isShort) {
      for (int size : new int[] {65536, 65537, 65535, 200000, 7, 131072, 1}) {
        writes.add(sealed(channel, pattern(size), size));
      }
    }
    return writes.toString();
  }

  /** Writes to the channel and collects what would go to the socket. */
  private static String sealed(EmbeddedChannel channel, byte[] plain, int size) throws Exception {
    ByteArrayOutputStream collected = new ByteArrayOutputStream();
    WritableByteChannel target = Channels.newChannel(collected);
    // What is longer than a token must be a region, as it is in Spark: of a buffer one token would be written.
    channel.writeOutbound(size < 0 ? Unpooled.wrappedBuffer(plain) : region(plain));
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

  private static FileRegion region(byte[] content) throws Exception {
    File file = File.createTempFile("region", null);
    file.deleteOnExit();
    Files.write(file.toPath(), content);
    return new DefaultFileRegion(file, 0, content.length);
  }

  /** The body of the RPC that carries a client's token. */
  private static byte[] message(byte[] token) {
    SaslMessage message = new SaslMessage("app-1", token);
    ByteBuf head = Unpooled.buffer(message.encodedLength());
    message.encode(head);
    byte[] out = new byte[head.readableBytes() + token.length];
    head.getBytes(head.readerIndex(), out, 0, head.readableBytes());
    System.arraycopy(token, 0, out, head.readableBytes(), token.length);
    return out;
  }

  private static byte[] pattern(int size) {
    byte[] out = new byte[size];
    for (int i = 0; i < size; i++) {
      out[i] = (byte) (7 * i + i / 256);
    }
    return out;
  }

  private static String ascii(byte[] bytes) {
    return new String(bytes, StandardCharsets.US_ASCII);
  }

  private static String hex(byte[] bytes) {
    return HexFormat.of().formatHex(bytes);
  }

  private static String quoted(String content) {
    return text(content.replace("\"", "\\\""));
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
}
