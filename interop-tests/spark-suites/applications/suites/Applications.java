package suites;

import java.io.PrintStream;
import java.lang.instrument.Instrumentation;
import java.util.Map;
import net.bytebuddy.agent.ByteBuddyAgent;
import net.bytebuddy.agent.builder.AgentBuilder;
import net.bytebuddy.asm.Advice;
import net.bytebuddy.matcher.ElementMatchers;
import org.apache.spark.network.server.RpcHandler;
import org.apache.spark.network.shuffle.ExternalBlockHandler;
import org.scalatest.Reporter;
import org.scalatest.events.Event;
import org.scalatest.events.SuiteAborted;
import org.scalatest.events.TestCanceled;
import org.scalatest.events.TestFailed;
import org.scalatest.events.TestIgnored;
import org.scalatest.events.TestPending;
import org.scalatest.events.TestSucceeded;

/**
 * Runs suites of whole applications (ScalaTest), and prints the same lines as {@link suites.Runner}. The server that
 * such a suite makes for the shuffle service's handler is a service of its own; all other servers of the application are
 * Spark's, so that the class cannot be replaced, and its method is advised.
 */
public final class Applications implements Reporter {
  private static PrintStream results;
  private static Service service;

  public static void main(String[] suites) {
    results = System.out;
    System.setOut(System.err);
    Instrumentation jvm = ByteBuddyAgent.install();
    new AgentBuilder.Default()
        .disableClassFormatChanges()
        .type(ElementMatchers.named("org.apache.spark.network.server.TransportServer"))
        .transform((type, description, loader, module, domain) ->
            type.visit(Advice.to(Serve.class).on(ElementMatchers.named("init"))))
        .type(ElementMatchers.named("org.apache.spark.network.shuffle.ExternalBlockHandler"))
        .transform((type, description, loader, module, domain) ->
            type.visit(Advice.to(Forget.class).on(ElementMatchers.named("applicationRemoved"))))
        .installOn(jvm);
    for (String suite : suites) {
      org.scalatest.tools.Runner.run(new String[] {"-oW", "-C", "suites.Applications", "-s", suite});
    }
    results.println("END");
    results.flush();
    System.exit(0);
  }

  /** The port of a service in the place of a server; zero where the handler is another, and the server is to begin. */
  public static int port(RpcHandler handler) {
    if (!(handler instanceof ExternalBlockHandler)) {
      return 0;
    }
    if (service != null) {
      service.close();
    }
    service = Service.start(Map.of(), null);
    return service.port();
  }

  /** Tells the service that an application is over, as the suite tells its own handler. */
  public static void forget(String app) {
    if (service != null) {
      service.forget(app);
    }
  }

  @Override
  public void apply(Event event) {
    if (event instanceof TestSucceeded) {
      TestSucceeded test = (TestSucceeded) event;
      print(test.suiteName(), test.testName(), Service.started() == 0 ? "idle" : "passed", "");
    } else if (event instanceof TestFailed) {
      TestFailed test = (TestFailed) event;
      String cause = test.throwable().isDefined() ? String.valueOf(test.throwable().get()) : test.message();
      print(test.suiteName(), test.testName(), "failed", cause);
    } else if (event instanceof TestIgnored) {
      print(((TestIgnored) event).suiteName(), ((TestIgnored) event).testName(), "skipped", "");
    } else if (event instanceof TestCanceled) {
      print(((TestCanceled) event).suiteName(), ((TestCanceled) event).testName(), "skipped",
          ((TestCanceled) event).message());
    } else if (event instanceof TestPending) {
      print(((TestPending) event).suiteName(), ((TestPending) event).testName(), "skipped", "");
    } else if (event instanceof SuiteAborted) {
      print(((SuiteAborted) event).suiteName(), "", "failed", ((SuiteAborted) event).message());
    }
  }

  private static void print(String suite, String test, String outcome, String cause) {
    String line = cause.replaceAll("\\s+", " ");
    results.println(String.join("\t", "RESULT", suite + "#" + test, outcome, "0", line));
    results.flush();
  }

  /** In {@code TransportServer.init}: leaves the method where a service has taken its place. */
  public static final class Serve {
    private Serve() {}

    @Advice.OnMethodEnter(skipOn = Advice.OnNonDefaultValue.class)
    static int enter(@Advice.FieldValue("appRpcHandler") RpcHandler handler,
        @Advice.FieldValue(value = "port", readOnly = false) int port) {
      int taken = Applications.port(handler);
      if (taken != 0) {
        port = taken;
      }
      return taken;
    }
  }

  /** In {@code ExternalBlockHandler.applicationRemoved}. */
  public static final class Forget {
    private Forget() {}

    @Advice.OnMethodEnter
    static void enter(@Advice.Argument(0) String app) {
      Applications.forget(app);
    }
  }
}
