import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.util.ReflectionUtils;
import org.apache.hadoop.yarn.api.records.ApplicationId;
import org.apache.hadoop.yarn.api.records.ContainerLaunchContext;
import org.apache.hadoop.yarn.conf.YarnConfiguration;
import org.apache.hadoop.yarn.server.api.ApplicationInitializationContext;
import org.apache.hadoop.yarn.server.api.ApplicationTerminationContext;
import org.apache.hadoop.yarn.server.api.AuxiliaryService;
import org.apache.hadoop.yarn.util.Records;
import org.apache.spark.SecurityManager;
import org.apache.spark.SparkConf;
import org.apache.spark.deploy.yarn.ExecutorRunnable;

/**
 * What a NodeManager does with an auxiliary service, in its order (AuxServices, Hadoop 3.4): made by class name,
 * initialized, started, told of applications, stopped. The data of an application is what Spark puts into the launch
 * context of its containers.
 */
public final class NodeManager {
  private static final Map<String, AuxiliaryService> SERVICES = new ConcurrentHashMap<>();

  /** Runs one command; called by name, since only releases that run on YARN here have the classes. */
  public static ObjectNode run(JsonNode c) throws Exception {
    ObjectNode answer = SparkClient.JSON.createObjectNode();
    String node = c.get("node").asText();
    switch (c.get("op").asText()) {
      case "start": {
        Configuration conf = new YarnConfiguration();
        c.get("conf").fields().forEachRemaining(entry -> conf.set(entry.getKey(), entry.getValue().asText()));
        Class<?> type = Class.forName(c.get("class").asText());
        AuxiliaryService service = (AuxiliaryService) ReflectionUtils.newInstance(type, conf);
        service.init(conf);
        service.start();
        SERVICES.put(node, service);
        answer.put("name", service.getName());
        answer.put("meta", service.getMetaData().remaining());
        return answer;
      }
      case "begin": {
        ByteBuffer data = serviceData(c).get("spark_shuffle");
        int before = data.remaining();
        SERVICES.get(node).initializeApplication(new ApplicationInitializationContext("interop", id(c), data));
        answer.put("bytes", before);
        answer.put("left", data.remaining());
        return answer;
      }
      case "end":
        SERVICES.get(node).stopApplication(new ApplicationTerminationContext(id(c)));
        return answer;
      case "stop":
        SERVICES.remove(node).stop();
        return answer;
      default:
        throw new IllegalArgumentException(c.toString());
    }
  }

  private static ApplicationId id(JsonNode c) {
    return ApplicationId.newInstance(c.get("cluster").asLong(), c.get("app").asInt());
  }

  private static Map<String, ByteBuffer> serviceData(JsonNode c) {
    SparkConf conf = new SparkConf(false);
    c.get("conf").fields().forEachRemaining(entry -> conf.set(entry.getKey(), entry.getValue().asText()));
    scala.Option<byte[]> none = scala.Option.empty();
    SecurityManager security = new SecurityManager(
        conf, none, org.apache.spark.internal.config.package$.MODULE$.AUTH_SECRET_FILE());
    ExecutorRunnable runnable = new ExecutorRunnable(
        scala.Option.empty(), new YarnConfiguration(), conf, "yarn", "1", "localhost", 1, 1, "app", security, null, 0);
    ContainerLaunchContext context = Records.newRecord(ContainerLaunchContext.class);
    runnable.configureServiceData(context);
    return context.getServiceData();
  }
}
