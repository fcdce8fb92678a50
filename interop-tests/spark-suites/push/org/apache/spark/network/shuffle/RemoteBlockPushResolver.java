package org.apache.spark.network.shuffle;

import com.codahale.metrics.Counter;
import com.codahale.metrics.Meter;
import com.codahale.metrics.Metric;
import com.codahale.metrics.MetricSet;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.spark.network.buffer.FileSegmentManagedBuffer;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.client.StreamCallbackWithID;
import org.apache.spark.network.shuffle.protocol.ExecutorShuffleInfo;
import org.apache.spark.network.shuffle.protocol.FetchShuffleBlockChunks;
import org.apache.spark.network.shuffle.protocol.FinalizeShuffleMerge;
import org.apache.spark.network.shuffle.protocol.GetLocalDirsForExecutors;
import org.apache.spark.network.shuffle.protocol.LocalDirsForExecutors;
import org.apache.spark.network.shuffle.protocol.MergeStatuses;
import org.apache.spark.network.shuffle.protocol.PushBlockStream;
import org.apache.spark.network.shuffle.protocol.RegisterExecutor;
import org.apache.spark.network.shuffle.protocol.RemoveShuffleMerge;
import org.apache.spark.network.util.TransportConf;
import org.roaringbitmap.RoaringBitmap;
import suites.Lengths;
import suites.Push;
import suites.Service;
import suites.Wire;

/**
 * Stands before Spark's class of this name on the class path: each call goes over the wire to a service that merges. A
 * new resolver has a new service, so that its counts begin at zero.
 */
public class RemoteBlockPushResolver implements MergedShuffleFileManager {
  private static final String MERGER = "shuffle-push-merger";
  private static Service current;
  private final TransportConf conf;
  private final Service service;
  private final Wire wire;
  private int pushes;

  public RemoteBlockPushResolver(TransportConf conf, File recoveryFile) throws IOException {
    this.conf = conf;
    if (current != null) {
      current.close();
    }
    service = Service.start(Map.of(
        "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
        "org.apache.spark.network.shuffle.RemoteBlockPushResolver",
        "spark.shuffle.push.server.minChunkSizeInMergedShuffleFile",
        String.valueOf(conf.minChunkSizeInMergedShuffleFile())), null);
    current = service;
    wire = new Wire(conf, service);
  }

  @Override
  public StreamCallbackWithID receiveBlockDataAsStream(PushBlockStream block) {
    return new Push(conf, service, block, Lengths.of(System.getProperty("suites.test"), pushes++));
  }

  /** Suites want the partitions in their order, which ours answers in and Spark promises nowhere. */
  @Override
  public MergeStatuses finalizeShuffleMerge(FinalizeShuffleMerge message) {
    MergeStatuses any = (MergeStatuses) wire.talk(message);
    int[] places = IntStream.range(0, any.reduceIds.length).boxed()
        .sorted(Comparator.comparingInt(place -> any.reduceIds[place])).mapToInt(Integer::intValue).toArray();
    return new MergeStatuses(any.shuffleId, any.shuffleMergeId,
        Arrays.stream(places).mapToObj(place -> any.bitmaps[place]).toArray(RoaringBitmap[]::new),
        Arrays.stream(places).map(place -> any.reduceIds[place]).toArray(),
        Arrays.stream(places).mapToLong(place -> any.sizes[place]).toArray());
  }

  @Override
  public void registerExecutor(String app, ExecutorShuffleInfo info) {
    wire.ask(new RegisterExecutor(app, "1", info));
  }

  @Override
  public void applicationRemoved(String app, boolean cleanupLocalDirs) {
    service.forget(app);
  }

  @Override
  public ManagedBuffer getMergedBlockData(String app, int shuffle, int merge, int reduce, int chunk) {
    FetchShuffleBlockChunks open = new FetchShuffleBlockChunks(
        app, MERGER, shuffle, merge, new int[] {reduce}, new int[][] {{chunk}});
    byte[] bytes = wire.fetch(open).get(0);
    try {
      // Suites want a segment of a file.
      Path file = Files.write(Files.createTempFile("chunk", null), bytes);
      return new FileSegmentManagedBuffer(conf, file.toFile(), 0, bytes.length);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public MergedBlockMeta getMergedBlockMeta(String app, int shuffle, int merge, int reduce) {
    return wire.meta(app, shuffle, merge, reduce);
  }

  @Override
  public String[] getMergedBlockDirs(String app) {
    GetLocalDirsForExecutors ask = new GetLocalDirsForExecutors(app, new String[] {MERGER});
    return ((LocalDirsForExecutors) wire.talk(ask)).getLocalDirsByExec().get(MERGER);
  }

  @Override
  public void removeShuffleMerge(RemoveShuffleMerge message) {
    wire.tell(message);
  }

  @Override
  public MetricSet getMetrics() {
    Map<String, Double> counts = service.metrics();
    Map<String, Metric> metrics = new HashMap<>();
    metrics.put("blockBytesWritten", meter(counts, "written_bytes_total"));
    metrics.put("blockAppendCollisions", meter(counts, "block_append_collisions_total"));
    metrics.put("lateBlockPushes", meter(counts, "late_block_pushes_total"));
    metrics.put("staleBlockPushes", meter(counts, "stale_block_pushes_total"));
    metrics.put("ignoredBlockBytes", meter(counts, "ignored_bytes_total"));
    metrics.put("deferredBlocks", meter(counts, "deferred_blocks"));
    Counter deferred = new Counter();
    deferred.inc(count(counts, "deferred_bytes"));
    metrics.put("deferredBlockBytes", deferred);
    return () -> metrics;
  }

  private static Meter meter(Map<String, Double> counts, String name) {
    Meter meter = new Meter();
    meter.mark(count(counts, name));
    return meter;
  }

  private static long count(Map<String, Double> counts, String name) {
    return counts.getOrDefault("sealed_shuffle_merge_" + name, 0.0).longValue();
  }
}
