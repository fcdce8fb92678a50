package org.apache.spark.network.shuffle;

import java.io.File;
import java.nio.ByteBuffer;
import java.util.Map;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.buffer.NioManagedBuffer;
import org.apache.spark.network.shuffle.protocol.BlockTransferMessage;
import org.apache.spark.network.shuffle.protocol.BlocksRemoved;
import org.apache.spark.network.shuffle.protocol.ExecutorShuffleInfo;
import org.apache.spark.network.shuffle.protocol.FetchShuffleBlocks;
import org.apache.spark.network.shuffle.protocol.RegisterExecutor;
import org.apache.spark.network.shuffle.protocol.RemoveBlocks;
import org.apache.spark.network.util.TransportConf;
import suites.Service;
import suites.Wire;

/**
 * Stands before Spark's class of this name on the class path: each call goes over the wire to a service, a new one for
 * each resolver.
 */
public class ExternalShuffleBlockResolver {
  private static Service current;
  private final Wire wire;

  public ExternalShuffleBlockResolver(TransportConf conf, File registeredExecutorFile) {
    if (current != null) {
      current.close();
    }
    current = Service.start(Map.of(), null);
    wire = new Wire(conf, current);
  }

  public void registerExecutor(String app, String exec, ExecutorShuffleInfo info) {
    wire.ask(new RegisterExecutor(app, exec, info));
  }

  public ManagedBuffer getBlockData(String app, String exec, int shuffle, long map, int reduce) {
    int[][] one = {{reduce}};
    return only(new FetchShuffleBlocks(app, exec, shuffle, new long[] {map}, one, false));
  }

  public ManagedBuffer getContinuousBlocksData(String app, String exec, int shuffle, long map, int begin, int end) {
    int[][] range = {{begin, end}};
    return only(new FetchShuffleBlocks(app, exec, shuffle, new long[] {map}, range, true));
  }

  public int removeBlocks(String app, String exec, String[] blocks) {
    return ((BlocksRemoved) wire.talk(new RemoveBlocks(app, exec, blocks))).numRemovedBlocks;
  }

  private ManagedBuffer only(BlockTransferMessage open) {
    return new NioManagedBuffer(ByteBuffer.wrap(wire.fetch(open).get(0)));
  }
}
