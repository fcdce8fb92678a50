package suites;

import java.io.BufferedReader;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * A shuffle service in a process of its own: ours, or Spark's as the control. Both take the same command line, which
 * the system property {@code suites.command} begins, one word a line.
 *
 * <p>It ends with {@link #close} and with this JVM. When {@code close} returns, its ports are free.
 */
public final class Service implements Closeable {
  private static final long START_LIMIT_S = 120;
  private static final long END_LIMIT_S = 60;
  /** Ours ends an application over TCP for who has it. */
  private static final String TOKEN = "token-of-the-suites-0123456789abcdef";
  private static volatile int started;
  private final Process process;
  private final int port;
  private final int adminPort;

  private Service(Process process, int port, int adminPort) {
    this.process = process;
    this.port = port;
    this.adminPort = adminPort;
  }

  /**
   * Starts a service.
   *
   * @param conf keys beside those that every service here has; they win
   * @param secrets the secret of each application, or null where nobody proves anything
   */
  public static Service start(Map<String, String> conf, Map<String, String> secrets) {
    try {
      Path home = Files.createTempDirectory("suites-service");
      Map<String, String> all = new HashMap<>();
      all.put("spark.local.dir", System.getProperty("java.io.tmpdir"));
      all.put("spark.shuffle.service.db.enabled", "false");
      all.put("spark.sealed.state.dir", Files.createDirectory(home.resolve("state")).toString());
      all.put("spark.sealed.admin.token-file", written(home.resolve("admin"), Map.of("token", TOKEN)) + "/token");
      all.put("spark.sealed.security.minimum", "plaintext");
      all.put("spark.authenticate", String.valueOf(secrets != null));
      if (secrets != null) {
        all.put("spark.sealed.auth.secret-dir", written(home.resolve("secrets"), secrets));
        all.put("spark.sealed.auth.secret-wait", "1s");
      }
      all.putAll(conf);
      List<String> lines = new ArrayList<>();
      all.forEach((key, value) -> lines.add(key + " " + value));
      Path properties = Files.write(home.resolve("spark-defaults.conf"), lines);
      Files.setPosixFilePermissions(properties, PosixFilePermissions.fromString("rw-------"));
      return launched(properties);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String written(Path dir, Map<String, String> secrets) throws IOException {
    Files.createDirectory(dir, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    for (Map.Entry<String, String> secret : secrets.entrySet()) {
      Path file = Files.createFile(dir.resolve(secret.getKey()),
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
      Files.writeString(file, secret.getValue());
    }
    return dir.toString();
  }

  private static Service launched(Path properties) throws IOException {
    List<String> command = new ArrayList<>(List.of(System.getProperty("suites.command").split("\n")));
    command.addAll(List.of("serve", "--bind", "127.0.0.1", "--port", "0", "--admin", "127.0.0.1:0"));
    command.addAll(List.of("--properties-file", properties.toString()));
    Process process = new ProcessBuilder(command)
        .redirectError(ProcessBuilder.Redirect.appendTo(Path.of(System.getProperty("suites.log")).toFile())).start();
    Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
    CompletableFuture<int[]> ports = new CompletableFuture<>();
    Thread reader = new Thread(() -> read(process, ports), "service-output");
    reader.setDaemon(true);
    reader.start();
    try {
      int[] both = ports.get(START_LIMIT_S, TimeUnit.SECONDS);
      started++;
      return new Service(process, both[0], both[1]);
    } catch (Exception e) {
      process.destroyForcibly();
      throw new IOException("the service does not start: " + String.join(" ", command), e);
    }
  }

  private static void read(Process process, CompletableFuture<int[]> ports) {
    int[] both = new int[2];
    try (BufferedReader out =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line = out.readLine(); line != null; line = out.readLine()) {
        both[0] = line.startsWith("listening on ") ? port(line.split(" ")[2]) : both[0];
        both[1] = line.startsWith("admin on ") ? port(line.split(" ")[2]) : both[1];
        if (both[0] > 0 && both[1] > 0) {
          ports.complete(both);
        }
      }
      ports.completeExceptionally(new IOException("it ended"));
    } catch (IOException e) {
      ports.completeExceptionally(e);
    }
  }

  private static int port(String address) {
    return Integer.parseInt(address.substring(address.lastIndexOf(':') + 1));
  }

  /** Where it takes connections. */
  public int port() {
    return port;
  }

  /** How many services this JVM has started: a test during which none ran has shown nothing of them. */
  public static int started() {
    return started;
  }

  /** All samples without labels, and the sums of those with labels, by name. */
  public Map<String, Double> metrics() {
    Map<String, Double> sums = new HashMap<>();
    for (String line : http("GET", "/metrics").split("\n")) {
      int space = line.lastIndexOf(' ');
      if (!line.startsWith("#") && space > 0) {
        sums.merge(line.substring(0, space).split("\\{")[0], Double.valueOf(line.substring(space + 1)), Double::sum);
      }
    }
    return sums;
  }

  /** Tells it that an application is over. */
  public void forget(String app) {
    http("DELETE", "/applications/" + URLEncoder.encode(app, StandardCharsets.UTF_8));
  }

  private String http(String method, String path) {
    try {
      HttpURLConnection http =
          (HttpURLConnection) URI.create("http://127.0.0.1:" + adminPort + path).toURL().openConnection();
      http.setRequestMethod(method);
      http.setRequestProperty("Authorization", "Bearer " + TOKEN);
      http.setReadTimeout(60_000);
      return http.getResponseCode() >= 400 ? ""
          : new String(http.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    // Without a drain: suites leave pushes behind that never end. A killed process keeps its sockets until the kernel has
    // taken it apart, and suites connect at once to the port of a server that they closed, and expect a refusal.
    process.destroyForcibly().onExit().orTimeout(END_LIMIT_S, TimeUnit.SECONDS).join();
  }
}
