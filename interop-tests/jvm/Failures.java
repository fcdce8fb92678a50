import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;

/** A Throwable as the harness reads it: class and message word for word, and the same of its causes. */
final class Failures {
  static ObjectNode describe(ObjectNode into, Throwable failure) {
    ObjectNode error = into.putObject("error");
    error.put("class", failure.getClass().getName());
    error.put("message", message(failure));
    ArrayNode causes = error.putArray("causes");
    for (Throwable c = failure.getCause(); c != null && causes.size() < 10; c = c.getCause()) {
      causes.addObject().put("class", c.getClass().getName()).put("message", message(c));
    }
    return into;
  }

  private static String message(Throwable failure) {
    return failure.getMessage() == null ? "" : failure.getMessage();
  }
}
