package sealedshuffle.yarn;

import java.io.BufferedReader;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * The program {@code sealed-shuffle hand-over}, which passes lines on to the server's socket and answers back: Java
 * before 16 knows no Unix sockets, and before that the program looks whose socket it is. It ends when its input ends,
 * so that it never outlives the NodeManager, and when the server goes.
 */
final class Relay implements Closeable {
  private static final long PATIENCE_SECONDS = 30;
  private static final int LONGEST_ANSWER = 4096;
  private static final String END = new String("end");

  private final Process process;
  private final OutputStream input;
  private final BlockingQueue<String> answers = new LinkedBlockingQueue<>(16);
  private final Runnable gone;
  private volatile boolean ended;
  private volatile String words = "";

  /** Starts the program; {@code gone} is run when it has ended. */
  Relay(List<String> command, Runnable gone) throws IOException {
    this.gone = gone;
    process = new ProcessBuilder(command).start();
    input = process.getOutputStream();
    InputStream said = process.getInputStream();
    InputStream complaints = process.getErrorStream();
    read("answers", () -> listen(said));
    read("complaints", () -> complain(complaints));
  }

  /** Says a line and waits for its answer; the line is wiped. */
  Answer ask(byte[] line) throws IOException, InterruptedException {
    try {
      input.write(line);
      input.flush();
    } catch (IOException e) {
      throw failed("it has gone");
    } finally {
      Arrays.fill(line, (byte) 0);
    }
    String answer = answers.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
    if (answer == null) {
      throw failed("no answer within " + PATIENCE_SECONDS + " s");
    }
    if (answer == END) {
      throw failed("it has gone");
    }
    return new Answer(answer);
  }

  void checkAlive() throws IOException {
    if (ended) {
      throw failed("it has gone");
    }
  }

  @Override
  public void close() {
    try {
      input.close();
    } catch (IOException e) {
      // It has gone before.
    }
    process.destroy();
  }

  /** What it said first on standard error is the best reason there is, and is read a little after its end. */
  private IOException failed(String otherwise) {
    try {
      process.waitFor(200, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    return new IOException(words.isEmpty() ? otherwise : words);
  }

  private void listen(InputStream said) {
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(said, StandardCharsets.UTF_8))) {
      for (String line; (line = line(lines)) != null; ) {
        answers.put(line);
      }
    } catch (IOException e) {
      // The same as its end.
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    ended = true;
    answers.offer(END);
    gone.run();
  }

  private void complain(InputStream complaints) {
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(complaints, StandardCharsets.UTF_8))) {
      for (String line; (line = line(lines)) != null; ) {
        if (words.isEmpty()) {
          words = line;
        }
      }
    } catch (IOException e) {
      // Nothing more is said.
    }
  }

  /** A line of bounded length, or null at the end. */
  private static String line(BufferedReader lines) throws IOException {
    StringBuilder line = new StringBuilder();
    for (int c; (c = lines.read()) != '\n'; ) {
      if (c < 0) {
        return null;
      }
      if (line.length() < LONGEST_ANSWER) {
        line.append((char) c);
      }
    }
    return line.toString();
  }

  private static void read(String what, Runnable reader) {
    Thread thread = new Thread(reader, "sealed-shuffle-hand-over-" + what);
    thread.setDaemon(true);
    thread.start();
  }

  /** What the server says to a line. */
  static final class Answer {
    private final String line;

    private Answer(String line) {
      this.line = line;
    }

    boolean isFailed() {
      return line.startsWith("failed ");
    }

    boolean isRefused() {
      return !isFailed() && !line.equals("ok");
    }

    String text() {
      return line;
    }

    void check() throws IOException {
      if (!line.equals("ok")) {
        throw new IOException(line);
      }
    }
  }
}
