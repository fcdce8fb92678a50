import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * A long-lived program that does with Spark's own network classes what it is told: one JSON command a line on
 * standard input, one JSON answer a line on standard output, matched by "id". Commands run side by side, so that
 * several tests can share one JVM; what belongs to one connection is ordered by the caller waiting for answers.
 * It ends at the end of its input, so that it never outlives the test that started it.
 */
public final class SparkClient {
  static final ObjectMapper JSON = new ObjectMapper();
  private static final Map<String, RawConnection> CONNECTIONS = new ConcurrentHashMap<>();
  private static final Map<String, BlockStore> STORES = new ConcurrentHashMap<>();
  private static final Map<String, SparkShuffleService> SERVICES = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    PrintStream answers = System.out;
    System.setOut(System.err); // nothing but answers may reach the channel
    ExecutorService pool = Executors.newCachedThreadPool();
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = commands.readLine()) != null; ) {
      JsonNode command = JSON.readTree(line);
      pool.execute(() -> answer(command, answers));
    }
    System.exit(0);
  }

  private static void answer(JsonNode command, PrintStream answers) {
    ObjectNode result;
    try {
      result = run(command);
      if (!result.has("error")) {
        result.put("ok", true);
      }
    } catch (Throwable failure) {
      result = Failures.describe(JSON.createObjectNode(), failure);
    }
    result.set("id", command.get("id"));
    synchronized (answers) {
      answers.println(result);
      answers.flush();
    }
  }

  private static ObjectNode run(JsonNode c) throws Exception {
    switch (c.get("cmd").asText()) {
      case "ping":
        return JSON.createObjectNode();
      case "abilities":
        return Abilities.describe();
      case "service-start": {
        SparkShuffleService service = SparkShuffleService.start(Options.conf(c));
        SERVICES.put(Integer.toString(service.port()), service);
        return JSON.createObjectNode().put("port", service.port());
      }
      case "service-metrics":
        return SERVICES.get(c.get("port").asText()).metrics();
      case "service-stop":
        SERVICES.remove(c.get("port").asText()).stop();
        return JSON.createObjectNode();
      case "node-manager": // not every release has the classes
        return (ObjectNode) Class.forName("NodeManager").getMethod("run", JsonNode.class).invoke(null, c);
      case "open":
        return put(CONNECTIONS, c, RawConnection.open(c));
      case "close":
        CONNECTIONS.remove(c.get("conn").asText()).close();
        return JSON.createObjectNode();
      case "store-open":
        return put(STORES, c, BlockStore.open(c));
      case "store-close": // of all its commands the only one that is not the store's own
        STORES.remove(c.get("store").asText()).close();
        return JSON.createObjectNode();
      default:
        return c.has("store") ? STORES.get(c.get("store").asText()).run(c)
            : CONNECTIONS.get(c.get("conn").asText()).run(c);
    }
  }

  private static <T> ObjectNode put(Map<String, T> table, JsonNode command, T value) {
    String name = command.get("id").asText();
    table.put(name, value);
    return JSON.createObjectNode().put("name", name);
  }
}
