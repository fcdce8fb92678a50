import com.fasterxml.jackson.databind.node.ObjectNode;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import org.apache.spark.network.util.TransportConf;

/** What this build of Spark can speak, told from its classes, whatever its number is. */
final class Abilities {
  private static final String NETWORK = "org.apache.spark.network.";

  static ObjectNode describe() {
    return SparkClient.JSON.createObjectNode()
        .put("x25519", Reflect.has(NETWORK + "crypto.AuthMessage"))
        .put("engines", hasEngines())
        .put("gcm", gcm())
        .put("tls", Reflect.has(NETWORK + "ssl.SSLFactory"));
  }

  private static boolean hasEngines() {
    for (Method method : TransportConf.class.getMethods()) {
      if (method.getName().equals("authEngineVersion")) {
        return true;
      }
    }
    return false;
  }

  /** A receiver whose decrypter cannot be made anew is over with its first message. */
  private static String gcm() {
    try {
      Class<?> receiver = Class.forName(NETWORK + "crypto.GcmTransportCipher$DecryptionHandler");
      for (Field field : receiver.getDeclaredFields()) {
        if (field.getName().equals("decrypter") && Modifier.isFinal(field.getModifiers())) {
          return "broken";
        }
      }
      return "sound";
    } catch (ClassNotFoundException e) {
      return "absent";
    }
  }

  private Abilities() {}
}
