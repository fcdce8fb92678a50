package suites;

import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.io.PrintStream;
import java.util.Arrays;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.platform.engine.FilterResult;
import org.junit.platform.engine.TestDescriptor;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.PostDiscoveryFilter;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs suites and prints a line for each of their tests: the word {@code RESULT}, suite and test with a {@code #}
 * between them, the outcome, milliseconds, and the cause of a failure, with tabs between them. Outcomes are
 * {@code passed}, {@code idle} (passed, and no service ran), {@code failed}, {@code skipped} and {@code left-out}.
 * Arguments are suites; those that begin with {@code -} name tests that are left out.
 */
public final class Runner implements TestExecutionListener {
  private static final String TEST_LIMIT = "20 s";
  private final PrintStream out;
  private long began;

  private Runner(PrintStream out) {
    this.out = out;
  }

  public static void main(String[] args) throws Exception {
    // A suite that prints cannot garble the results.
    PrintStream results = System.out;
    System.setOut(System.err);
    Runner runner = new Runner(results);
    Set<String> leftOut = Arrays.stream(args).filter(arg -> arg.startsWith("-")).map(arg -> arg.substring(1))
        .collect(Collectors.toSet());
    LauncherDiscoveryRequestBuilder request = LauncherDiscoveryRequestBuilder.request()
        .configurationParameter("junit.jupiter.execution.timeout.testable.method.default", TEST_LIMIT)
        .filters((PostDiscoveryFilter) test -> runner.filter(test, leftOut));
    for (String suite : args) {
      if (!suite.startsWith("-")) {
        request.selectors(selectClass(suite));
      }
    }
    LauncherDiscoveryRequest built = request.build();
    LauncherFactory.create().execute(built, runner);
    results.println("END");
    results.flush();
    // Suites leave threads behind.
    System.exit(0);
  }

  private FilterResult filter(TestDescriptor test, Set<String> leftOut) {
    String name = test.getSource().map(Runner::name).orElse("");
    if (test.isTest() && leftOut.contains(name)) {
      out.println(String.join("\t", "RESULT", name, "left-out", "0", ""));
      return FilterResult.excluded("it is not applicable");
    }
    return FilterResult.included("");
  }

  private static String name(Object source) {
    if (!(source instanceof MethodSource)) {
      return "";
    }
    MethodSource method = (MethodSource) source;
    String suite = method.getClassName();
    return suite.substring(suite.lastIndexOf('.') + 1) + "#" + method.getMethodName();
  }

  @Override
  public void executionStarted(TestIdentifier test) {
    began = System.nanoTime();
    test.getSource().map(Runner::name).ifPresent(name -> System.setProperty("suites.test", name));
  }

  @Override
  public void executionFinished(TestIdentifier test, TestExecutionResult result) {
    boolean failed = result.getStatus() != TestExecutionResult.Status.SUCCESSFUL;
    String name = test.getSource().map(Runner::name).orElse("");
    if (!test.isTest()) {
      if (failed) {
        // The tests of a suite that cannot begin are not reported one by one.
        print(test.getDisplayName() + "#", "failed", result);
      }
      return;
    }
    print(name, failed ? "failed" : Service.started() == 0 ? "idle" : "passed", result);
  }

  @Override
  public void executionSkipped(TestIdentifier test, String reason) {
    test.getSource().map(Runner::name).filter(name -> !name.isEmpty())
        .ifPresent(name -> out.println(String.join("\t", "RESULT", name, "skipped", "0", reason)));
  }

  private void print(String name, String outcome, TestExecutionResult result) {
    long millis = (System.nanoTime() - began) / 1_000_000;
    String cause = result.getThrowable().map(Runner::cause).orElse("");
    out.println(String.join("\t", "RESULT", name, outcome, String.valueOf(millis), cause));
    out.flush();
  }

  private static String cause(Throwable failure) {
    StackTraceElement[] trace = failure.getStackTrace();
    String at = Arrays.stream(trace).filter(frame -> frame.getClassName().contains("Suite")).findFirst()
        .map(frame -> " at " + frame.getFileName() + ":" + frame.getLineNumber()).orElse("");
    String text = failure + (failure.getCause() == null ? "" : " caused by " + failure.getCause());
    return (text.length() > 400 ? text.substring(0, 400) + "…" : text).replaceAll("\\s+", " ") + at;
  }

}
