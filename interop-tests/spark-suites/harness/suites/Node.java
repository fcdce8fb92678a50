package suites;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.spark.network.shuffle.ExecutorDiskUtils;
import org.apache.spark.network.shuffle.protocol.ExecutorShuffleInfo;
import org.apache.spark.network.shuffle.protocol.FinalizeShuffleMerge;
import org.apache.spark.network.shuffle.protocol.PushBlockStream;
import org.apache.spark.network.shuffle.protocol.RegisterExecutor;
import org.apache.spark.network.util.TransportConf;

/** The part of executors and drivers: they register, write files, push and finalize, before a suite asks. */
public final class Node {
  private static final int SUB_DIRS = 1;
  private final TransportConf conf;
  private final Service service;
  private final Wire wire;
  private final Path home;

  public Node(TransportConf conf, Service service, Wire wire) {
    this.conf = conf;
    this.service = service;
    this.wire = wire;
    try {
      home = Files.createTempDirectory("node");
      Files.createDirectories(home.resolve("blockmgr/00"));
    } catch (IOException e) {
      throw new IllegalStateException("the temporary directory takes no other", e);
    }
  }

  private String[] dirs() {
    return new String[] {home.resolve("blockmgr").toString()};
  }

  /** Registers an executor with merge directories of its attempt; negative is none. */
  public ByteBuffer register(String app, String exec, int attempt) throws IOException {
    String merge = attempt < 0 ? "merge_manager" : "merge_manager_" + attempt;
    Files.createDirectories(home.resolve(merge).resolve("00"));
    String manager = attempt < 0
        ? "shuffleManager:{\"mergeDir\": \"" + merge + "\"}"
        : "shuffleManager:{\"mergeDir\": \"" + merge + "\", \"attemptId\": \"" + attempt + "\"}";
    return wire.ask(new RegisterExecutor(app, exec, new ExecutorShuffleInfo(dirs(), SUB_DIRS, manager)));
  }

  /** Writes a file where an executor would. */
  public void write(String name, byte[] bytes) throws IOException {
    Files.write(Path.of(ExecutorDiskUtils.getFilePath(dirs(), SUB_DIRS, name)), bytes);
  }

  /** Writes data and index file of one map output. */
  public void writeShuffle(int shuffle, long map, List<byte[]> partitions) throws IOException {
    ByteArrayOutputStream data = new ByteArrayOutputStream();
    ByteArrayOutputStream index = new ByteArrayOutputStream();
    DataOutputStream offsets = new DataOutputStream(index);
    offsets.writeLong(0);
    for (byte[] partition : partitions) {
      data.write(partition);
      offsets.writeLong(data.size());
    }
    write("shuffle_" + shuffle + "_" + map + "_0.data", data.toByteArray());
    write("shuffle_" + shuffle + "_" + map + "_0.index", index.toByteArray());
  }

  /** Copies the file of this name that the suite wrote last, in a directory of its own. */
  public void copyNewest(String name) throws IOException {
    try (Stream<Path> all = Files.walk(Path.of(System.getProperty("java.io.tmpdir")), 2)) {
      Optional<Path> newest = all.filter(path -> path.getFileName().toString().equals(name))
          .max(Comparator.comparing(path -> path.toFile().lastModified()));
      if (newest.isPresent()) {
        write(name, Files.readAllBytes(newest.get()));
      }
    }
  }

  /** Pushes a whole block. */
  public void push(String app, int attempt, int shuffle, int merge, int map, int reduce, byte[] bytes) {
    PushBlockStream block = new PushBlockStream(app, attempt, shuffle, merge, map, reduce, 0);
    Push push = new Push(conf, service, block, bytes.length);
    push.onData(push.getID(), ByteBuffer.wrap(bytes));
    push.onComplete(push.getID());
  }

  /** Finalizes a merge. */
  public void finish(String app, int attempt, int shuffle, int merge) {
    wire.ask(new FinalizeShuffleMerge(app, attempt, shuffle, merge));
  }
}
