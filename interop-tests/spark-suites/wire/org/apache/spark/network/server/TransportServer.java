package org.apache.spark.network.server;

import com.codahale.metrics.Counter;
import com.codahale.metrics.MetricSet;
import java.io.Closeable;
import java.lang.reflect.Field;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.spark.network.TransportContext;
import org.apache.spark.network.crypto.AuthServerBootstrap;
import org.apache.spark.network.sasl.SecretKeyHolder;
import org.apache.spark.network.util.ConfigProvider;
import org.apache.spark.network.util.TransportConf;
import suites.Service;

/**
 * Stands before Spark's class of this name on the class path: the server that a suite makes is a service of its own,
 * with the suite's configuration and the secrets that its bootstraps know. The suite's handler is not asked.
 */
public class TransportServer implements Closeable {
  /** The applications that the suites name. */
  private static final List<String> APPLICATIONS = List.of("my-app-id", "app-1", "app-2", "app-id", "unknown-app");
  private final Service service;
  private final Counter connections = new Counter();

  public TransportServer(TransportContext context, String hostToBind, int portToBind, RpcHandler handler,
      List<TransportServerBootstrap> bootstraps) {
    Map<String, String> conf = new HashMap<>();
    try {
      ConfigProvider provider = (ConfigProvider) field(TransportConf.class, "conf").get(context.getConf());
      provider.getAll().forEach(entry -> conf.put(entry.getKey(), entry.getValue()));
      Map<String, String> secrets = bootstraps.isEmpty() ? null : new HashMap<>();
      for (TransportServerBootstrap bootstrap : bootstraps) {
        // The handshake is the bootstrap's choice, whatever the key says.
        conf.put("spark.network.crypto.enabled", String.valueOf(bootstrap instanceof AuthServerBootstrap));
        secrets.putAll(secrets((SecretKeyHolder) field(bootstrap.getClass(), "secretKeyHolder").get(bootstrap)));
      }
      service = Service.start(conf, secrets);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("this Spark keeps its configuration elsewhere", e);
    }
  }

  private static Field field(Class<?> type, String name) throws NoSuchFieldException {
    Field field = type.getDeclaredField(name);
    field.setAccessible(true);
    return field;
  }

  private static Map<String, String> secrets(SecretKeyHolder holder) {
    Map<String, String> secrets = new HashMap<>();
    for (String app : APPLICATIONS) {
      try {
        String secret = holder.getSecretKey(app);
        if (secret != null) {
          secrets.put(app, secret);
        }
      } catch (IllegalArgumentException unknown) {
        // the suite's holder knows other applications
      }
    }
    return secrets;
  }

  public int getPort() {
    return service.port();
  }

  public MetricSet getAllMetrics() {
    return Collections::emptyMap;
  }

  public Counter getRegisteredConnections() {
    return connections;
  }

  @Override
  public void close() {
    service.close();
  }
}
