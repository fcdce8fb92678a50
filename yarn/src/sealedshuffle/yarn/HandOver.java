package sealedshuffle.yarn;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What runs on this node, and what the server was not told yet. One thread tells it, one line at a time, and begins
 * again with everything that runs when the server, or the program that speaks to it, has gone in the meantime. What is
 * said twice does no harm there. Everything is in memory; the server keeps what is to outlast a restart of the two.
 */
final class HandOver {
  private static final Logger LOG = LoggerFactory.getLogger(HandOver.class);

  private static final String GREETING = "sealed-shuffle-handover 1\n";
  /** The longest that the server takes, in base64, is a little more. */
  private static final int LONGEST_PAYLOAD = 64 << 10;
  /** Ends that wait while there is no server; the oldest go first beyond. */
  private static final int MOST_WAITING = 100_000;

  private static final long SHORTEST_PAUSE = 200;
  private static final long LONGEST_PAUSE = 10_000;
  /** Tries between two lines in the log about a server that does not answer. */
  private static final int QUIET_TRIES = 30;
  /** For what is still to be said when the NodeManager stops. */
  private static final long FAREWELL = 2_000;

  private final List<String> command;
  private final Thread thread = new Thread(this::run, "sealed-shuffle-hand-over");
  /** The line for each application that runs. */
  private final Map<String, byte[]> running = new LinkedHashMap<>();
  /** What is to be said next of an application, oldest first. */
  private final Map<String, byte[]> waiting = new LinkedHashMap<>();
  /** Those of which the log has that they were handed over: a server that comes back is told of all again. */
  private final Set<String> logged = new HashSet<>();
  private long stopAt = Long.MAX_VALUE;

  HandOver(List<String> command) {
    this.command = command;
    thread.setDaemon(true);
  }

  void start() {
    thread.start();
  }

  /** Says what can be said at once, and ends. */
  void stop() {
    synchronized (this) {
      stopAt = now() + FAREWELL;
      notifyAll();
    }
    try {
      thread.join(FAREWELL);
      thread.interrupt();
    } catch (InterruptedException e) {
      thread.interrupt();
      Thread.currentThread().interrupt();
    }
  }

  synchronized void began(String application, byte[] payload) {
    if (payload.length > LONGEST_PAYLOAD) {
      throw new IllegalArgumentException(application + " gives " + payload.length + " bytes to the shuffle service");
    }
    byte[] line = started(application, payload);
    Arrays.fill(payload, (byte) 0);
    byte[] before = running.get(application);
    if (Arrays.equals(before, line)) {
      // Another container of the same.
      Arrays.fill(line, (byte) 0);
      return;
    }
    running.put(application, line);
    tell(application, line);
    wipe(before);
  }

  synchronized void ended(String application) {
    byte[] before = running.remove(application);
    tell(application, ("ended " + application + "\n").getBytes(StandardCharsets.UTF_8));
    wipe(before);
  }

  private void tell(String application, byte[] line) {
    waiting.remove(application);
    waiting.put(application, line);
    Iterator<String> oldest = waiting.keySet().iterator();
    while (waiting.size() > MOST_WAITING && oldest.hasNext()) {
      String ended = oldest.next();
      if (!running.containsKey(ended)) {
        oldest.remove();
        logged.remove(ended);
      }
    }
    notifyAll();
  }

  private void run() {
    long pause = SHORTEST_PAUSE;
    for (int tries = 0; !isOver(); tries++) {
      try (Relay relay = new Relay(command, this::wake)) {
        relay.ask(GREETING.getBytes(StandardCharsets.UTF_8)).check();
        LOG.info("Applications are handed over");
        pause = SHORTEST_PAUSE;
        tries = 0;
        everythingAgain();
        serve(relay);
      } catch (IOException | RuntimeException e) {
        if (tries % QUIET_TRIES == 0 && !isOver()) {
          LOG.warn("Applications wait to be handed over: {}", e.toString());
        }
      } catch (InterruptedException e) {
        return;
      }
      try {
        pause(pause);
      } catch (InterruptedException e) {
        return;
      }
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }

  /** Says one thing after the other while the server is there. */
  private void serve(Relay relay) throws IOException, InterruptedException {
    while (true) {
      String application;
      byte[] line;
      byte[] said;
      synchronized (this) {
        while (waiting.isEmpty() && !isOver()) {
          relay.checkAlive();
          wait();
        }
        if (waiting.isEmpty() || isOver() && now() >= stopAt) {
          return;
        }
        Map.Entry<String, byte[]> oldest = waiting.entrySet().iterator().next();
        application = oldest.getKey();
        line = oldest.getValue();
        said = line.clone(); // the end of the application wipes the line
      }
      Relay.Answer answer = relay.ask(said);
      if (answer.isFailed()) {
        LOG.warn("{} is said again, since the server has not done it: {}", application, answer.text());
        later(application, line);
        pause(1_000);
        continue;
      }
      if (answer.isRefused()) {
        LOG.error("{} was refused: {}", application, answer.text());
      } else {
        log(application, line);
      }
      done(application, line);
    }
  }

  private synchronized void everythingAgain() {
    running.forEach(this::tell);
  }

  /** Unless there is news of it, the application waits for nothing any more. */
  private synchronized void done(String application, byte[] line) {
    if (waiting.get(application) == line) {
      waiting.remove(application);
    }
  }

  private synchronized void log(String application, byte[] line) {
    boolean runs = running.get(application) == line;
    if (runs && logged.add(application)) {
      // The application alone knows the secret, and YARN keeps it with the data of its containers.
      LOG.info("{} is handed over, {}", application, hasSecret(line)
          ? "with its own secret, which YARN keeps for it" : "without a secret, since it does not authenticate");
    } else if (!running.containsKey(application) && logged.remove(application)) {
      LOG.info("The end of {} is handed over", application);
    }
  }

  private synchronized void later(String application, byte[] line) {
    if (waiting.get(application) == line) {
      tell(application, line);
    }
  }

  private synchronized void wake() {
    notifyAll();
  }

  private synchronized boolean isOver() {
    return stopAt != Long.MAX_VALUE && (waiting.isEmpty() || now() >= stopAt);
  }

  /** Waits, whoever wakes; but no longer than this may run. */
  private synchronized void pause(long millis) throws InterruptedException {
    long until = now() + millis;
    for (long left; (left = Math.min(until, stopAt) - now()) > 0; ) {
      wait(left);
    }
  }

  private static void wipe(byte[] line) {
    if (line != null) {
      Arrays.fill(line, (byte) 0);
    }
  }

  private static long now() {
    return TimeUnit.NANOSECONDS.toMillis(System.nanoTime());
  }

  /** Whether the line of a beginning has a payload: "-" stands for none, and base64 does without it. */
  private static boolean hasSecret(byte[] line) {
    return line[line.length - 2] != '-';
  }

  private static byte[] started(String application, byte[] payload) {
    byte[] words = ("started " + application + " ").getBytes(StandardCharsets.UTF_8);
    byte[] encoded = payload.length == 0 ? new byte[] {'-'} : Base64.getEncoder().encode(payload);
    byte[] line = Arrays.copyOf(words, words.length + encoded.length + 1);
    System.arraycopy(encoded, 0, line, words.length, encoded.length);
    line[line.length - 1] = '\n';
    Arrays.fill(encoded, (byte) 0);
    return line;
  }
}
