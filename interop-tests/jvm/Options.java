import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.Map;
import org.apache.spark.network.sasl.SecretKeyHolder;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;

/** What a command says about configuration and secret, as Spark's classes want it. */
final class Options {
  /** The "conf" object of a command as plain strings. */
  static Map<String, String> conf(JsonNode command) {
    Map<String, String> conf = new HashMap<>();
    if (command.has("conf")) {
      JsonNode given = command.get("conf");
      given.fieldNames().forEachRemaining(key -> conf.put(key, given.get(key).asText()));
    }
    return conf;
  }

  static TransportConf transport(JsonNode command) {
    Map<String, String> conf = conf(command);
    conf.putIfAbsent("spark.shuffle.io.clientThreads", "1");
    return new TransportConf("shuffle", new MapConfigProvider(conf));
  }

  /** The secret of a command, or null where the peer shall not authenticate. */
  static SecretKeyHolder secret(JsonNode command) {
    if (!command.hasNonNull("secret")) {
      return null;
    }
    String secret = command.get("secret").asText();
    return new SecretKeyHolder() {
      @Override
      public String getSaslUser(String appId) {
        return "sparkSaslUser";
      }

      @Override
      public String getSecretKey(String appId) {
        return secret;
      }
    };
  }

  static String[] strings(JsonNode array) {
    String[] out = new String[array.size()];
    for (int i = 0; i < out.length; i++) {
      out[i] = array.get(i).asText();
    }
    return out;
  }
}
