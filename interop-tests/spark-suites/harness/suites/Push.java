package suites;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.BooleanSupplier;
import org.apache.spark.network.client.StreamCallbackWithID;
import org.apache.spark.network.protocol.Message;
import org.apache.spark.network.server.BlockPushNonFatalFailure;
import org.apache.spark.network.shuffle.protocol.BlockPushReturnCode;
import org.apache.spark.network.shuffle.protocol.BlockTransferMessage;
import org.apache.spark.network.shuffle.protocol.PushBlockStream;
import org.apache.spark.network.util.TransportConf;

/**
 * One pushed block over a connection of its own, piece by piece (UploadStream and the bytes behind it, Spark 4.2.0).
 *
 * <p>A suite works in one thread with the resolver itself, so that each call is done when it returns. On the wire a call
 * is waited for: until the service counts the bytes that were sent, or has seen the end of a connection. The last piece
 * of a block is its end there, so that it is sent only when the suite says that the block is complete.
 */
public final class Push implements StreamCallbackWithID {
  private static final long LIMIT_MS = 3_000;
  private final TransportConf conf;
  private final Service service;
  private final PushBlockStream block;
  private final Wire.Answer answer = new Wire.Answer();
  private Wire wire;
  private boolean answered;
  private long length;
  private long sent;
  private ByteBuf last = Unpooled.EMPTY_BUFFER;

  /**
   * Begins a push.
   *
   * @param length of the whole block, which its head tells; negative where that is the first piece's, so that the head
   *     is sent with it
   */
  public Push(TransportConf conf, Service service, PushBlockStream block, long length) {
    this.conf = conf;
    this.service = service;
    this.block = block;
    this.length = length;
    if (length >= 0) {
      begin();
    }
  }

  private void begin() {
    wire = new Wire(conf, service);
    long id = ThreadLocalRandom.current().nextLong(Long.MAX_VALUE);
    byte[] meta = new byte[block.toByteBuffer().remaining()];
    block.toByteBuffer().get(meta);
    int head = 8 + 1 + 8 + 4 + meta.length + 8;
    ByteBuf frame = Unpooled.buffer(head);
    frame.writeLong(head).writeByte(Message.Type.UploadStream.id());
    frame.writeLong(id).writeInt(meta.length).writeBytes(meta).writeLong(length);
    wire.client().getHandler().addRpcRequest(id, answer);
    wire.client().getChannel().writeAndFlush(frame).syncUninterruptibly();
  }

  @Override
  public String getID() {
    return String.format("shufflePush_%d_%d_%d_%d",
        block.shuffleId, block.shuffleMergeId, block.mapIndex, block.reduceId);
  }

  @Override
  public void onData(String id, ByteBuffer piece) {
    if (wire == null) {
      length = piece.remaining();
      begin();
    }
    ByteBuf bytes = Unpooled.copiedBuffer(piece);
    piece.position(piece.limit());
    if (sent + bytes.readableBytes() > length) {
      throw new IllegalStateException("longer than said in Lengths: " + System.getProperty("suites.test"));
    }
    if (sent + bytes.readableBytes() == length) {
      last = bytes;
      return;
    }
    double wanted = taken() + bytes.readableBytes();
    sent += bytes.readableBytes();
    wire.client().getChannel().writeAndFlush(bytes).awaitUninterruptibly();
    until(() -> taken() >= wanted);
  }

  @Override
  public void onComplete(String id) {
    if (wire == null) {
      length = 0;
      begin();
    }
    wire.client().getChannel().writeAndFlush(last).awaitUninterruptibly();
    last = Unpooled.EMPTY_BUFFER;
    ByteBuffer response = answer.get();
    answered = true;
    BlockPushReturnCode code =
        (BlockPushReturnCode) BlockTransferMessage.Decoder.fromByteBuffer(response.duplicate());
    if (code.returnCode != BlockPushNonFatalFailure.ReturnCode.SUCCESS.id()) {
      throw new BlockPushNonFatalFailure(response, "return code " + code.returnCode);
    }
  }

  /** Cuts the connection: the way in which a push fails on the wire. One that was answered cannot fail any more. */
  @Override
  public void onFailure(String id, Throwable cause) {
    if (wire == null) {
      length = 1;
      begin();
    }
    if (answered || !wire.client().isActive()) {
      wire.close();
      return;
    }
    Map<String, Double> before = service.metrics();
    wire.close();
    until(() -> count(service.metrics(), "connections") < count(before, "connections"));
    double ignored = count(before, "merge_ignored_bytes_total") + Math.min(sent, 1);
    until(() -> count(service.metrics(), "merge_ignored_bytes_total") >= ignored);
  }

  /** Bytes of pushes that the service has taken up, in whatever way. */
  private double taken() {
    Map<String, Double> all = service.metrics();
    return count(all, "merge_written_bytes_total") + count(all, "merge_ignored_bytes_total")
        + count(all, "merge_deferred_bytes");
  }

  private static double count(Map<String, Double> metrics, String name) {
    return metrics.getOrDefault("sealed_shuffle_" + name, 0.0);
  }

  /** Looks until it is so, or for the limit: a service that never gets there is for the suite to judge. */
  private static void until(BooleanSupplier isSo) {
    long deadline = System.nanoTime() + LIMIT_MS * 1_000_000;
    while (!isSo.getAsBoolean() && System.nanoTime() < deadline) {
      Thread.onSpinWait();
    }
  }
}
