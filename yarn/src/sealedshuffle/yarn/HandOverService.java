package sealedshuffle.yarn;

import java.net.URL;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.yarn.server.api.ApplicationInitializationContext;
import org.apache.hadoop.yarn.server.api.ApplicationTerminationContext;
import org.apache.hadoop.yarn.server.api.AuxiliaryService;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The auxiliary service of a NodeManager in the place of Spark's {@code spark_shuffle}: it serves nothing itself, and
 * hands what YARN tells of applications over to the sealed-shuffle server beside it. Nothing that goes wrong here may
 * keep a NodeManager from starting or a container from running: it is logged, and tried again where that can help.
 */
public final class HandOverService extends AuxiliaryService {
  /** Where the server listens for this; the same key as the server's own. */
  static final String SOCKET = "spark.sealed.handover.socket";
  /** The server's program, which is also the one that speaks to the socket. */
  static final String PROGRAM = "spark.yarn.sealed.program";
  /** Keys of this service alone, found beside its jar: where several run in one NodeManager. Spark's own reads it, too. */
  static final String OVERLAY = "spark-shuffle-site.xml";
  /** User ids as which the server may run, beside the NodeManager's own and root. */
  static final String SERVER_USERS = "spark.yarn.sealed.server.users";

  private static final Logger LOG = LoggerFactory.getLogger(HandOverService.class);

  private HandOver handOver;

  /** For the NodeManager. Spark's applications look for the service under this name. */
  public HandOverService() {
    super("spark_shuffle");
  }

  @Override
  protected void serviceInit(Configuration conf) throws Exception {
    super.serviceInit(conf);
    try {
      conf = withOverlay(conf);
      String socket = conf.getTrimmed(SOCKET, "");
      if (socket.isEmpty()) {
        LOG.error("Nothing is handed over: set {} to the socket of the sealed-shuffle server", SOCKET);
        return;
      }
      List<String> command = new ArrayList<>(
          Arrays.asList(conf.getTrimmed(PROGRAM, "sealed-shuffle"), "hand-over", "--socket", socket));
      for (String user : conf.getTrimmedStrings(SERVER_USERS)) {
        command.add("--server-user");
        command.add(user);
      }
      handOver = new HandOver(command);
    } catch (RuntimeException e) {
      LOG.error("Nothing is handed over", e);
    }
  }

  /** The NodeManager's keys, and over them those of the file on the class path of this service, where there is one. */
  private static Configuration withOverlay(Configuration conf) {
    URL overlay = HandOverService.class.getClassLoader().getResource(OVERLAY);
    if (overlay == null) {
      return conf;
    }
    LOG.info("Keys of this service alone are read from {}", overlay);
    Configuration all = new Configuration(conf);
    all.addResource(overlay);
    return all;
  }

  @Override
  protected void serviceStart() throws Exception {
    super.serviceStart();
    if (handOver != null) {
      handOver.start();
    }
  }

  @Override
  protected void serviceStop() throws Exception {
    if (handOver != null) {
      handOver.stop();
    }
    super.serviceStop();
  }

  /** Called for each container of an application, always with the application's own data. */
  @Override
  public void initializeApplication(ApplicationInitializationContext context) {
    try {
      if (handOver != null) {
        handOver.began(context.getApplicationId().toString(), bytes(context.getApplicationDataForService()));
      }
    } catch (RuntimeException e) {
      LOG.error("An application is not handed over; its executors will not be let in", e);
    }
  }

  @Override
  public void stopApplication(ApplicationTerminationContext context) {
    try {
      if (handOver != null) {
        handOver.ended(context.getApplicationId().toString());
      }
    } catch (RuntimeException e) {
      LOG.error("The end of an application is not handed over", e);
    }
  }

  /** Nothing, as Spark's own service has it: applications know the port from their configuration. */
  @Override
  public ByteBuffer getMetaData() {
    return ByteBuffer.allocate(0);
  }

  /** A copy; the buffer belongs to the NodeManager, which shows it to us again. */
  private static byte[] bytes(ByteBuffer data) {
    if (data == null) {
      return new byte[0];
    }
    ByteBuffer view = data.duplicate();
    byte[] bytes = new byte[view.remaining()];
    view.get(bytes);
    return bytes;
  }
}
