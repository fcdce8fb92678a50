package org.apache.spark.network.shuffle;

import com.codahale.metrics.Meter;
import com.codahale.metrics.Metric;
import com.codahale.metrics.MetricSet;
import com.codahale.metrics.Timer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.client.MergedBlockMetaResponseCallback;
import org.apache.spark.network.client.RpcResponseCallback;
import org.apache.spark.network.client.TransportClient;
import org.apache.spark.network.protocol.MergedBlockMetaRequest;
import org.apache.spark.network.server.OneForOneStreamManager;
import org.apache.spark.network.server.RpcHandler;
import org.apache.spark.network.server.StreamManager;
import org.apache.spark.network.shuffle.protocol.BlockTransferMessage;
import org.apache.spark.network.shuffle.protocol.DiagnoseCorruption;
import org.apache.spark.network.shuffle.protocol.FetchShuffleBlockChunks;
import org.apache.spark.network.shuffle.protocol.FetchShuffleBlocks;
import org.apache.spark.network.shuffle.protocol.FinalizeShuffleMerge;
import org.apache.spark.network.shuffle.protocol.MergeStatuses;
import org.apache.spark.network.shuffle.protocol.OpenBlocks;
import org.apache.spark.network.shuffle.protocol.RegisterExecutor;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;
import org.roaringbitmap.RoaringBitmap;
import suites.Node;
import suites.Service;
import suites.Wire;

/**
 * Stands before Spark's class of this name on the class path. The suite's stand-ins say which blocks there are: these
 * are written where an executor would write them, or pushed, and then the suite's message goes over the wire to a
 * service. The suite sees its answer; blocks that came back whole are shown as the stand-in's own.
 */
public class ExternalBlockHandler extends RpcHandler implements RpcHandler.MergedBlockMetaReqHandler {
  private static final int NO_ATTEMPT = -1;
  private final OneForOneStreamManager streams;
  private final ExternalShuffleBlockResolver blocks;
  private final MergedShuffleFileManager merged;
  private final Timer opened = new Timer();
  private final Timer registered = new Timer();
  private final Timer finalized = new Timer();
  private final Meter messages = new Meter();
  private final Service service;
  private final Node node;
  private final Wire wire;
  private static Service current;

  public ExternalBlockHandler(OneForOneStreamManager streams, ExternalShuffleBlockResolver blocks,
      MergedShuffleFileManager merged) {
    this.streams = streams;
    this.blocks = blocks;
    this.merged = merged;
    if (current != null) {
      current.close();
    }
    TransportConf conf = new TransportConf("shuffle", MapConfigProvider.EMPTY);
    service = Service.start(Map.of(
        "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
        "org.apache.spark.network.shuffle.RemoteBlockPushResolver",
        "spark.shuffle.push.server.minChunkSizeInMergedShuffleFile", "1"), null);
    current = service;
    wire = new Wire(conf, service);
    node = new Node(conf, service, wire);
  }

  @Override
  public void receive(TransportClient client, ByteBuffer bytes, RpcResponseCallback callback) {
    try {
      BlockTransferMessage message = BlockTransferMessage.Decoder.fromByteBuffer(bytes.duplicate());
      if (message instanceof RegisterExecutor) {
        register((RegisterExecutor) message, callback);
      } else if (message instanceof DiagnoseCorruption) {
        diagnose((DiagnoseCorruption) message, callback);
      } else if (message instanceof FinalizeShuffleMerge) {
        finish((FinalizeShuffleMerge) message, callback);
      } else if (message instanceof OpenBlocks || message instanceof FetchShuffleBlocks
          || message instanceof FetchShuffleBlockChunks) {
        open(client, message, callback);
      } else {
        callback.onSuccess(wire.ask(bytes));
      }
    } catch (IllegalArgumentException undecodable) {
      // The service is to say so.
      callback.onSuccess(wire.ask(bytes));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * The directories of the suite lie nowhere: the same executor is registered with some that do. The stand-ins are told
   * once the service counts it.
   */
  private void register(RegisterExecutor message, RpcResponseCallback callback) throws IOException {
    ByteBuffer answer;
    try (Timer.Context timed = registered.time()) {
      answer = node.register(message.appId, message.execId, NO_ATTEMPT);
    }
    if (service.metrics().getOrDefault("sealed_shuffle_executors", 0.0) == 1) {
      blocks.registerExecutor(message.appId, message.execId, message.executorInfo);
      merged.registerExecutor(message.appId, message.executorInfo);
    }
    callback.onSuccess(answer);
  }

  private void diagnose(DiagnoseCorruption message, RpcResponseCallback callback) throws IOException {
    node.register(message.appId, message.execId, NO_ATTEMPT);
    ManagedBuffer block =
        blocks.getBlockData(message.appId, message.execId, message.shuffleId, message.mapId, message.reduceId);
    node.writeShuffle(message.shuffleId, message.mapId, List.of(Wire.bytes(block)));
    node.copyNewest("shuffle_" + message.shuffleId + "_" + message.mapId + "_" + message.reduceId + ".checksum."
        + message.algorithm);
    callback.onSuccess(wire.ask(message));
  }

  /** The blocks that the stand-in says were merged, as long as it says in all, are pushed before. */
  private void finish(FinalizeShuffleMerge message, RpcResponseCallback callback) throws IOException {
    node.register(message.appId, "1", message.appAttemptId);
    MergeStatuses wanted = merged.finalizeShuffleMerge(message);
    for (int i = 0; i < wanted.reduceIds.length; i++) {
      RoaringBitmap maps = wanted.bitmaps[i];
      for (int map : maps.toArray()) {
        node.push(message.appId, message.appAttemptId, message.shuffleId, message.shuffleMergeId, map,
            wanted.reduceIds[i], new byte[(int) (wanted.sizes[i] / maps.getCardinality())]);
      }
    }
    try (Timer.Context timed = finalized.time()) {
      callback.onSuccess(wire.ask(message));
    }
  }

  private void open(TransportClient client, BlockTransferMessage message, RpcResponseCallback callback)
      throws IOException {
    List<ManagedBuffer> there = prepared(message);
    ByteBuffer answer;
    try (Timer.Context timed = opened.time()) {
      answer = wire.ask(message);
    }
    Iterator<ManagedBuffer> fetched = wire.chunks(answer, there::get, messages::mark);
    streams.registerStream(client.getClientId(), fetched, client.getChannel(), true);
    callback.onSuccess(answer);
  }

  /** Asks the stand-ins for each block once, and puts it where the service will look. */
  private List<ManagedBuffer> prepared(BlockTransferMessage message) throws IOException {
    List<ManagedBuffer> there = new ArrayList<>();
    if (message instanceof FetchShuffleBlockChunks) {
      FetchShuffleBlockChunks chunks = (FetchShuffleBlockChunks) message;
      node.register(chunks.appId, chunks.execId, NO_ATTEMPT);
      for (int i = 0; i < chunks.reduceIds.length; i++) {
        for (int chunk : chunks.chunkIds[i]) {
          there.add(chunk(chunks.appId, chunks.shuffleId, chunks.shuffleMergeId, chunks.reduceIds[i], chunk));
        }
      }
      node.finish(chunks.appId, NO_ATTEMPT, chunks.shuffleId, chunks.shuffleMergeId);
    } else if (message instanceof FetchShuffleBlocks) {
      FetchShuffleBlocks fetch = (FetchShuffleBlocks) message;
      node.register(fetch.appId, fetch.execId, NO_ATTEMPT);
      for (int i = 0; i < fetch.mapIds.length; i++) {
        int[] reduces = fetch.reduceIds[i];
        List<byte[]> partitions = new ArrayList<>();
        if (fetch.batchFetchEnabled) {
          there.add(blocks.getContinuousBlocksData(
              fetch.appId, fetch.execId, fetch.shuffleId, fetch.mapIds[i], reduces[0], reduces[1]));
          partitions.addAll(split(Wire.bytes(there.get(there.size() - 1)), reduces[1] - reduces[0]));
        } else {
          for (int reduce : reduces) {
            there.add(blocks.getBlockData(fetch.appId, fetch.execId, fetch.shuffleId, fetch.mapIds[i], reduce));
            partitions.add(Wire.bytes(there.get(there.size() - 1)));
          }
        }
        node.writeShuffle(fetch.shuffleId, fetch.mapIds[i], partitions);
      }
    } else {
      there.addAll(prepared((OpenBlocks) message));
    }
    return there;
  }

  private List<ManagedBuffer> prepared(OpenBlocks open) throws IOException {
    node.register(open.appId, open.execId, NO_ATTEMPT);
    List<ManagedBuffer> there = new ArrayList<>();
    List<byte[]> partitions = new ArrayList<>();
    for (String block : open.blockIds) {
      String[] parts = block.split("_");
      int[] ids = Arrays.stream(parts).skip(1).mapToInt(Integer::parseInt).toArray();
      switch (parts[0]) {
        case "rdd":
          there.add(blocks.getRddBlockData(open.appId, open.execId, ids[0], ids[1]));
          ManagedBuffer last = there.get(there.size() - 1);
          if (last != null) {
            node.write(block, Wire.bytes(last));
          }
          break;
        case "shuffle":
          there.add(blocks.getBlockData(open.appId, open.execId, ids[0], ids[1], ids[2]));
          partitions.add(Wire.bytes(there.get(there.size() - 1)));
          node.writeShuffle(ids[0], ids[1], partitions);
          break;
        default:
          there.add(chunk(open.appId, ids[0], ids[1], ids[2], ids[3]));
      }
    }
    if (open.blockIds[0].startsWith("shuffleChunk")) {
      int[] ids = Arrays.stream(open.blockIds[0].split("_")).skip(1).mapToInt(Integer::parseInt).toArray();
      node.finish(open.appId, NO_ATTEMPT, ids[0], ids[1]);
    }
    return there;
  }

  /** With chunks of at least one byte each pushed block becomes a chunk. */
  private ManagedBuffer chunk(String app, int shuffle, int merge, int reduce, int chunk) throws IOException {
    ManagedBuffer wanted = merged.getMergedBlockData(app, shuffle, merge, reduce, chunk);
    node.push(app, NO_ATTEMPT, shuffle, merge, chunk, reduce, Wire.bytes(wanted));
    return wanted;
  }

  private static List<byte[]> split(byte[] all, int parts) {
    List<byte[]> split = new ArrayList<>();
    for (int i = 0; i < parts; i++) {
      split.add(Arrays.copyOfRange(all, all.length * i / parts, all.length * (i + 1) / parts));
    }
    return split;
  }

  /** Pushes as many blocks as the stand-in says that there are chunks. */
  @Override
  public void receiveMergeBlockMetaReq(
      TransportClient client, MergedBlockMetaRequest request, MergedBlockMetaResponseCallback callback) {
    int chunks =
        merged.getMergedBlockMeta(request.appId, request.shuffleId, request.shuffleMergeId, request.reduceId)
            .getNumChunks();
    try {
      // A merge can be finalized once, and the suite asks three times: each time is an attempt of its own.
      int attempt = request.reduceId + 1;
      node.register(request.appId, "1", attempt);
      for (int map = 0; map < chunks; map++) {
        node.push(request.appId, attempt, request.shuffleId, request.shuffleMergeId, map, request.reduceId,
            new byte[] {1});
      }
      node.finish(request.appId, attempt, request.shuffleId, request.shuffleMergeId);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    MergedBlockMeta meta =
        wire.meta(request.appId, request.shuffleId, request.shuffleMergeId, request.reduceId);
    callback.onSuccess(meta.getNumChunks(), meta.getChunksBitmapBuffer());
  }

  @Override
  public MergedBlockMetaReqHandler getMergedBlockMetaReqHandler() {
    return this;
  }

  @Override
  public StreamManager getStreamManager() {
    return streams;
  }

  /** Counts of blocks and bytes are the service's; requests and messages are counted here, on the wire. */
  public MetricSet getAllMetrics() {
    Map<String, Metric> metrics = new HashMap<>();
    Map<String, Double> counts = service.metrics();
    metrics.put("openBlockRequestLatencyMillis", opened);
    metrics.put("registerExecutorRequestLatencyMillis", registered);
    metrics.put("finalizeShuffleMergeLatencyMillis", finalized);
    metrics.put("blockTransferMessageRate", messages);
    metrics.put("blockTransferRate", meter(counts, "sealed_shuffle_blocks_total"));
    metrics.put("blockTransferRateBytes", meter(counts, "sealed_shuffle_block_bytes_total"));
    return () -> metrics;
  }

  private static Meter meter(Map<String, Double> counts, String name) {
    Meter meter = new Meter();
    meter.mark(counts.getOrDefault(name, 0.0).longValue());
    return meter;
  }
}
