import java.nio.ByteBuffer;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.yarn.server.api.ApplicationInitializationContext;
import org.apache.hadoop.yarn.server.api.ApplicationTerminationContext;
import org.apache.hadoop.yarn.server.api.AuxiliaryService;
import org.apache.spark.network.TransportContext;
import org.apache.spark.network.crypto.AuthServerBootstrap;
import org.apache.spark.network.sasl.ShuffleSecretManager;
import org.apache.spark.network.server.TransportServer;
import org.apache.spark.network.shuffle.ExternalBlockHandler;
import org.apache.spark.network.shuffle.RemoteBlockPushResolver;
import org.apache.spark.network.util.JavaUtils;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;

/**
 * Spark's own handler and merger as an auxiliary service of a NodeManager, as its YarnShuffleService has them: that class is in no
 * repository of jars. Keeps no database. Its keys are those of yarn-site.xml that begin with "spark."; its port is
 * spark.interop.own.port.
 */
public final class OwnShuffleService extends AuxiliaryService {
  private final ShuffleSecretManager secrets = new ShuffleSecretManager();
  private ExternalBlockHandler handler;
  private TransportContext context;
  private TransportServer server;

  public OwnShuffleService() {
    super("spark_shuffle_own");
  }

  @Override
  protected void serviceInit(Configuration conf) throws Exception {
    super.serviceInit(conf);
    Map<String, String> keys = new HashMap<>();
    conf.forEach(entry -> {
      if (entry.getKey().startsWith("spark.")) {
        keys.put(entry.getKey(), entry.getValue());
      }
    });
    TransportConf transport = new TransportConf("shuffle", new MapConfigProvider(keys));
    handler = new ExternalBlockHandler(transport, null, new RemoteBlockPushResolver(transport, null));
    context = new TransportContext(transport, handler, true);
    server = context.createServer(
        Integer.parseInt(keys.get("spark.interop.own.port")), Collections.singletonList(new AuthServerBootstrap(transport, secrets)));
  }

  @Override
  protected void serviceStop() throws Exception {
    server.close();
    handler.close();
    context.close();
    super.serviceStop();
  }

  @Override
  public void initializeApplication(ApplicationInitializationContext context) {
    ByteBuffer data = context.getApplicationDataForService();
    secrets.registerApp(context.getApplicationId().toString(), JavaUtils.bytesToString(data));
  }

  @Override
  public void stopApplication(ApplicationTerminationContext context) {
    String id = context.getApplicationId().toString();
    secrets.unregisterApp(id);
    handler.applicationRemoved(id, false);
  }

  @Override
  public ByteBuffer getMetaData() {
    return ByteBuffer.allocate(0);
  }
}
