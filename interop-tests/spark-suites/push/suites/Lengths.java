package suites;

import java.util.HashMap;
import java.util.Map;

/**
 * How long the blocks are that a test of RemoteBlockPushResolverSuite pushes, in the order in which their pushes begin.
 * On the wire a block's head says so before its first byte; a suite says it never. A push that is not listed has one
 * piece. A block that is never completed is listed a byte longer than its pieces.
 */
public final class Lengths {
  private static final Map<String, int[]> LISTED = new HashMap<>();

  static {
    list("testDeferredBufsAreWrittenDuringOnData", 4, 6);
    list("testDeferredBufsAreWrittenDuringOnComplete", 4, 6);
    list("testDuplicateBlocksAreIgnoredWhenPrevStreamHasCompleted", 4, 4);
    list("testDuplicateBlocksAreIgnoredWhenPrevStreamIsInProgress", 4, 4);
    list("testFailureAfterData", 5);
    list("testFailureAfterMultipleDataBlocks", 10);
    list("testFailureAfterComplete", 9);
    list("testBlockReceivedAfterMergeFinalize", 9);
    list("testIncompleteStreamsAreOverwritten", 11);
    list("testCollision", 3);
    list("testFailureInAStreamDoesNotInterfereWithStreamWhichIsWriting", 4, 1);
    list("testOnFailureInvokedMoreThanOncePerBlock", 3, 9);
    list("testFailureAfterDuplicateBlockDoesNotInterfereActiveStream", 2, 3, 9);
    list("testFinalizeShuffleMergeFromPreviousAttemptIsAborted", 9);
    list("testBlockPushWithOlderShuffleMergeId", 4, 4);
    list("testFinalizeWithOlderShuffleMergeId", 4, 4);
    list("testBlockFetchWithOlderShuffleMergeId", 4, 4);
    list("testEmptyMergePartitionsAreNotReported", 5);
  }

  private Lengths() {}

  private static void list(String test, int... lengths) {
    LISTED.put("RemoteBlockPushResolverSuite#" + test, lengths);
  }

  /** The length of a test's push, counted from 0; negative where it is not listed. */
  public static int of(String test, int push) {
    int[] lengths = LISTED.getOrDefault(test, new int[0]);
    return push < lengths.length ? lengths[push] : -1;
  }
}
