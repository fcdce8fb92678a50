import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.FileRegion;
import io.netty.channel.embedded.EmbeddedChannel;
import org.apache.spark.network.buffer.NioManagedBuffer;
import org.apache.spark.network.protocol.*;
import org.apache.spark.network.server.OneForOneStreamManager;
import org.apache.spark.network.shuffle.checksum.Cause;
import org.apache.spark.network.shuffle.protocol.*;
import org.apache.spark.network.util.TransportFrameDecoder;
import org.roaringbitmap.RoaringBitmap;

/** Writes known-answer vectors with the classes of the Spark on the class path. See README.md beside it. */
public final class Vectors {
    private static final String NETWORK = "org.apache.spark.network.";

    private final String spark;
    private final Path out;

    private Vectors(String spark, Path out) {
        this.spark = spark;
        this.out = out;
    }

    public static void main(String[] args) throws Exception {
        Properties info = new Properties();
        try (InputStream in = Vectors.class.getResourceAsStream("/spark-version-info.properties")) {
            info.load(in);
        }
        String spark = info.getProperty("version");
        Path out = Path.of(args[0], spark);
        Files.createDirectories(out);
        Vectors vectors = new Vectors(spark, out);
        vectors.transport();
        vectors.frames();
        vectors.encoders();
        vectors.bitmaps();
        vectors.blockTransfer();
        vectors.blockIds();
        vectors.openBlocks();
        vectors.streamNames();
    }

    // Transport messages, through the encoder that a channel uses.

    private void transport() throws Exception {
        Table table = new Table(
            "frames as written, with the body in or behind them", NETWORK + "protocol.MessageEncoder");
        StreamChunkId chunk = new StreamChunkId(0x0102030405060708L, 9);
        message(table, "chunk_fetch_request", new ChunkFetchRequest(chunk), "");
        message(table, "chunk_fetch_success", new ChunkFetchSuccess(chunk, body("DATA")), "DATA");
        message(table, "chunk_fetch_success_empty",
            new ChunkFetchSuccess(new StreamChunkId(1, 0), body("")), "");
        message(table, "chunk_fetch_failure", new ChunkFetchFailure(chunk, "oops \u00e9"), "");
        message(table, "rpc_request", new RpcRequest(42, body("hello")), "hello");
        message(table, "rpc_response", new RpcResponse(42, body("ok")), "ok");
        message(table, "rpc_response_empty", new RpcResponse(-1, body("")), "");
        message(table, "rpc_failure", new RpcFailure(42, "err"), "");
        message(table, "stream_request", new StreamRequest("6345036243736943969_2"), "");
        message(table, "stream_response",
            new StreamResponse("6345036243736943969_2", 4, body("DATA")), "DATA");
        message(table, "stream_response_empty", new StreamResponse("s", 0, body("")), "");
        message(table, "stream_failure", new StreamFailure("s", "Stream 's' was not found."), "");
        message(table, "one_way_message", new OneWayMessage(body("hi")), "hi");
        message(table, "upload_stream", new UploadStream(7, body("M"), body("DATA")), "DATA");
        message(table, "upload_stream_empty", new UploadStream(8, body(""), body("")), "");
        message(table, "merged_block_meta_request", new MergedBlockMetaRequest(11, "app-1", 2, 3, 4), "");
        message(table, "merged_block_meta_success", new MergedBlockMetaSuccess(11, 5, body("BITS")), "BITS");
        write("transport", table);
    }

    private void message(Table table, String name, Message message, String body) throws Exception {
        EmbeddedChannel channel = new EmbeddedChannel(MessageEncoder.INSTANCE);
        String fields = message.toString();
        channel.writeOutbound(message);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        WritableByteChannel target = Channels.newChannel(bytes);
        for (Object part = channel.readOutbound(); part != null; part = channel.readOutbound()) {
            if (part instanceof ByteBuf buf) {
                bytes.writeBytes(read(buf));
            } else {
                FileRegion region = (FileRegion) part;
                while (region.transferred() < region.count()) {
                    region.transferTo(target, region.transferred());
                }
            }
        }
        table.row(name, message.getClass())
            .put("fields", fields)
            .put("body", hex(body.getBytes(StandardCharsets.UTF_8)))
            .put("hex", hex(bytes.toByteArray()));
    }

    // What the frame and message decoders make of odd input.

    private void frames() throws Exception {
        Table table = new Table(
            "what TransportFrameDecoder and MessageDecoder make of odd frames",
            NETWORK + "util.TransportFrameDecoder");
        frame(table, "length_0", "0000000000000000");
        frame(table, "length_6", "0000000000000006");
        frame(table, "length_8_empty", "0000000000000008");
        frame(table, "length_negative", "ffffffffffffffff");
        frame(table, "length_too_large", "0000000080000007");
        frame(table, "length_largest", "0000000080000006");
        frame(table, "type_13", "0000000000000009" + "0d");
        frame(table, "type_ff", "0000000000000009" + "ff");
        frame(table, "surplus_ignored",
            "0000000000000018" + "00" + "0000000000000001" + "00000002" + "aabbcc");
        frame(table, "rpc_size_ignored",
            "0000000000000017" + "03" + "0000000000000001" + "7fffffff" + "aabb");
        frame(table, "rpc_size_negative_ignored",
            "0000000000000015" + "03" + "0000000000000001" + "ffffffff");
        frame(table, "fields_missing", "0000000000000014" + "00" + "0000000000000001" + "000000");
        frame(table, "rpc_fields_missing", "0000000000000014" + "03" + "0000000000000001" + "000000");
        frame(table, "string_negative", "000000000000000d" + "06" + "ffffffff");
        frame(table, "string_past_end", "000000000000000e" + "06" + "00000002" + "61");
        frame(table, "meta_past_end",
            "000000000000001d" + "0a" + "0000000000000001" + "00000001" + "0000000000000000");
        frame(table, "stream_response_negative",
            "0000000000000016" + "07" + "00000001" + "73" + "ffffffffffffffff");
        write("frames", table);
    }

    private void frame(Table table, String name, String input) {
        EmbeddedChannel channel =
            new EmbeddedChannel(new TransportFrameDecoder(), MessageDecoder.INSTANCE);
        String result;
        try {
            channel.writeInbound(Unpooled.wrappedBuffer(HexFormat.of().parseHex(input)));
            Object message = channel.readInbound();
            result = message == null ? "waiting" : "message";
        } catch (Throwable error) {
            result = "rejected";
        }
        table.row(name, TransportFrameDecoder.class).put("hex", input).put("result", result);
    }

    // The encoders beneath both layers.

    private void encoders() throws Exception {
        Table table = new Table("primitives", NETWORK + "protocol.Encoders");
        String text = "a\u00e9\ud83d\ude00";
        encoder(table, "string", text, buf -> Encoders.Strings.encode(buf, text));
        encoder(table, "string_empty", "", buf -> Encoders.Strings.encode(buf, ""));
        encoder(table, "bytes", "01ff", buf -> Encoders.ByteArrays.encode(buf, new byte[] {1, -1}));
        encoder(table, "strings", "a,bc", buf -> Encoders.StringArrays.encode(buf, new String[] {"a", "bc"}));
        encoder(table, "strings_empty", "", buf -> Encoders.StringArrays.encode(buf, new String[0]));
        encoder(table, "ints", "1,-2", buf -> Encoders.IntArrays.encode(buf, new int[] {1, -2}));
        encoder(table, "longs", "1,-2", buf -> Encoders.LongArrays.encode(buf, new long[] {1, -2}));
        encoder(table, "bitmaps", "{1,5,9},{}", buf -> Encoders.BitmapArrays.encode(
            buf, new RoaringBitmap[] {RoaringBitmap.bitmapOf(1, 5, 9), new RoaringBitmap()}));
        write("encoders", table);
    }

    private interface Writer {
        void write(ByteBuf buf);
    }

    private void encoder(Table table, String name, String fields, Writer writer) {
        // Bitmaps are written into what room there is; the buffer does not grow for them.
        ByteBuf buf = Unpooled.buffer(1 << 8);
        writer.write(buf);
        table.row(name, Encoders.class).put("fields", fields).put("hex", hex(read(buf)));
    }

    private void bitmaps() throws Exception {
        Table table = new Table("fields are start,end,step of ranges, ends exclusive",
            NETWORK + "protocol.Encoders.Bitmaps");
        bitmap(table, "empty");
        bitmap(table, "zero", range(0, 1, 1));
        bitmap(table, "three", range(1, 10, 4));
        bitmap(table, "two_containers", range(1, 2, 1), range(65538, 65539, 1));
        bitmap(table, "run", range(0, 10, 1));
        bitmap(table, "run_of_three_stays_array", range(5, 8, 1));
        bitmap(table, "run_of_four", range(5, 9, 1));
        bitmap(table, "two_runs", range(10, 20, 1), range(100, 200, 1));
        bitmap(table, "run_and_array", range(0, 10, 1), range(65543, 65544, 1));
        bitmap(table, "three_runs_without_offsets",
            range(0, 10, 1), range(65536, 65546, 1), range(131072, 131082, 1));
        bitmap(table, "four_runs_with_offsets",
            range(0, 10, 1), range(65536, 65546, 1), range(131072, 131082, 1), range(196608, 196618, 1));
        bitmap(table, "largest", range(4294967295L, 4294967296L, 1));
        bitmap(table, "full_container", range(0, 65536, 1));
        bitmap(table, "array_of_4096", range(0, 8192, 2));
        bitmap(table, "bitmap_of_4097", range(0, 8194, 2));
        bitmap(table, "bitmap", range(0, 20000, 2));
        bitmap(table, "bitmap_run_array", range(0, 20000, 2), range(70000, 71000, 1), range(140000, 140100, 3));
        bitmap(table, "nine_containers_two_flag_bytes", range(0, 9 * 65536, 65536), range(1, 50, 1));
        write("bitmaps", table);
    }

    private static long[] range(long start, long end, long step) {
        return new long[] {start, end, step};
    }

    private void bitmap(Table table, String name, long[]... ranges) {
        RoaringBitmap bitmap = new RoaringBitmap();
        List<String> fields = new ArrayList<>();
        for (long[] range : ranges) {
            for (long value = range[0]; value < range[1]; value += range[2]) {
                bitmap.add((int) value);
            }
            fields.add(range[0] + "," + range[1] + "," + range[2]);
        }
        // Asking for the length is what brings a bitmap into its shortest form, and comes before every encode.
        ByteBuf buf = Unpooled.buffer(Encoders.Bitmaps.encodedLength(bitmap));
        Encoders.Bitmaps.encode(buf, bitmap);
        table.row(name, RoaringBitmap.class)
            .put("fields", String.join(" ", fields))
            .put("hex", hex(read(buf)));
    }

    // Block-transfer messages.

    private void blockTransfer() throws Exception {
        Table table = new Table("what toByteBuffer writes",
            NETWORK + "shuffle.protocol.BlockTransferMessage");
        transfer(table, "open_blocks",
            new OpenBlocks("app-1", "2", new String[] {"shuffle_0_1_2", "shuffle_0_3_4"}));
        transfer(table, "open_blocks_empty", new OpenBlocks("", "", new String[0]));
        transfer(table, "open_blocks_utf8", new OpenBlocks("ap\u00fc", "driver", new String[] {"rdd_7_12"}));
        transfer(table, "upload_block", new UploadBlock(
            "app-1", "2", "rdd_1_2", new byte[] {1, 2, 3}, new byte[] {(byte) 0xca, (byte) 0xfe}));
        transfer(table, "register_executor", new RegisterExecutor("app-1", "2", new ExecutorShuffleInfo(
            new String[] {"/a/blockmgr-1", "/b/blockmgr-2"}, 64,
            "org.apache.spark.shuffle.sort.SortShuffleManager")));
        transfer(table, "stream_handle", new StreamHandle(0x0123456789abcdefL, 3));
        transfer(table, "upload_block_stream", new UploadBlockStream("rdd_1_2", new byte[] {1, 2, 3}));
        transfer(table, "remove_blocks", new RemoveBlocks("app-1", "2", new String[] {"rdd_1_2"}));
        transfer(table, "blocks_removed", new BlocksRemoved(1));
        transfer(table, "fetch_shuffle_blocks", new FetchShuffleBlocks(
            "app-1", "2", 0, new long[] {1, 4294967298L}, new int[][] {{0, 1}, {2}}, false));
        transfer(table, "fetch_shuffle_blocks_batch", new FetchShuffleBlocks(
            "app-1", "2", 0, new long[] {1, 2}, new int[][] {{0, 3}, {2, 4}}, true));
        transfer(table, "get_local_dirs", new GetLocalDirsForExecutors(
            "app-1", new String[] {"2", "shuffle-push-merger"}));
        Map<String, String[]> dirs = new LinkedHashMap<>();
        dirs.put("2", new String[] {"/a", "/b"});
        dirs.put("3", new String[] {"/c"});
        transfer(table, "local_dirs", new LocalDirsForExecutors(dirs));
        transfer(table, "push_block_stream", new PushBlockStream("application_1_2", 1, 5, 2, 7, 9, 3));
        transfer(table, "push_block_stream_no_attempt", new PushBlockStream("app-1", -1, 5, 0, 7, 9, 0));
        transfer(table, "finalize_shuffle_merge", new FinalizeShuffleMerge("app-1", 1, 5, 2));
        transfer(table, "merge_statuses", new MergeStatuses(5, 2,
            new RoaringBitmap[] {
                RoaringBitmap.bitmapOf(1, 2, 3, 4, 5, 6, 7, 8), RoaringBitmap.bitmapOf(0, 2, 70000)},
            new int[] {9, 10}, new long[] {100, 4294967296L}));
        transfer(table, "merge_statuses_empty",
            new MergeStatuses(5, 2, new RoaringBitmap[0], new int[0], new long[0]));
        transfer(table, "fetch_shuffle_block_chunks", new FetchShuffleBlockChunks(
            "app-1", "shuffle-push-merger", 5, 2, new int[] {9, 10}, new int[][] {{0, 1}, {0}}));
        transfer(table, "diagnose_corruption",
            new DiagnoseCorruption("app-1", "2", 5, 7, 9, 0x11223344L, "ADLER32"));
        for (Cause cause : Cause.values()) {
            transfer(table, "corruption_cause_" + cause.ordinal(), new CorruptionCause(cause));
        }
        transfer(table, "block_push_return_code_0", new BlockPushReturnCode((byte) 0, ""));
        for (byte code = 1; code <= 4; code++) {
            transfer(table, "block_push_return_code_" + code,
                new BlockPushReturnCode(code, "shufflePush_5_2_7_9"));
        }
        try {
            Class<?> remove = Class.forName(NETWORK + "shuffle.protocol.RemoveShuffleMerge");
            Constructor<?> make = remove.getConstructor(String.class, int.class, int.class, int.class);
            transfer(table, "remove_shuffle_merge",
                (BlockTransferMessage) make.newInstance("app-1", 1, 5, 2));
            transfer(table, "remove_shuffle_merge_current",
                (BlockTransferMessage) make.newInstance("app-1", -1, 5, -1));
        } catch (ClassNotFoundException before34) {
            // The message came with Spark 3.4.
        }
        write("block_transfer", table);
    }

    private void transfer(Table table, String name, BlockTransferMessage message) {
        table.row(name, message.getClass())
            .put("fields", message.toString())
            .put("hex", hex(read(Unpooled.wrappedBuffer(message.toByteBuffer()))));
    }

    // Names of blocks, as executors and drivers read them.

    private void blockIds() throws Exception {
        Table table = new Table("BlockId.apply; result is what the parsed id calls itself",
            "org.apache.spark.storage.BlockId");
        Method apply = Class.forName("org.apache.spark.storage.BlockId").getMethod("apply", String.class);
        for (String input : List.of(
                "rdd_7_12", "rdd_007_1", "rdd_1_2_3", "rdd_2147483648_0", "shuffle_0_1_2",
                "shuffle_0_4294967298_2", "shuffle_0_9223372036854775808_0", "shuffle_0_3_0_4",
                "shuffle_0_3_0_4_5", "shuffle_-1_1_2", "shuffle_0_1_2_", "shuffle_0_1", "shuffle_0_3_0.data",
                "shuffle_0_3_0.index", "shuffle_0_3_0.meta", "shuffle_0_3_0.checksum.ADLER32",
                "shufflePush_5_2_7_9", "shufflePush_5_2_7", "shuffleMerged_5_2_9",
                "shuffleMerged_application_1_2_5_2_9.data", "shuffleMerged_application_1_2_5_2_9.index",
                "shuffleMerged_application_1_2_5_2_9.meta", "shuffleMerged__5_2_9.data",
                "shuffleMerged_app-1_5_2_9.data", "shuffleMerged_5_2_9.data", "shuffleChunk_5_2_9_0",
                "shuffleChunk_5_2_9", "broadcast_12", "broadcast_12_piece0", "broadcast_12piece0",
                "broadcast_12_python", "broadcast_", "broadcast_1-2", "taskresult_5", "taskresult_",
                "input-1-1700000000000", "input-1", "python-stream-1-1700000000000",
                "temp_local_0f8fad5b-d9cb-469f-a165-70867728950e",
                "temp_local_0F8FAD5B-D9CB-469F-A165-70867728950E",
                "temp_shuffle_00000000-0000-0000-0000-000000000001", "test_log_1700000000000_driver",
                "test_log_1_", "test_log_x_1", "python_worker_log_1_2_session_42",
                "python_worker_log_1_2_session", "test_", "test_anything", "", "nonsense", "shuffle",
                "xrdd_1_2", "rdd_1_2\n", "test_a\nb")) {
            Row row = table.row(input, apply.getDeclaringClass());
            try {
                Object id = apply.invoke(null, input);
                row.put("kind", id.getClass().getSimpleName()).put("result", id.toString());
            } catch (InvocationTargetException refused) {
                row.put("error", refused.getCause().getClass().getSimpleName());
            }
        }
        write("block_ids", table);
    }

    // Names of blocks, as the external shuffle service reads them in an OpenBlocks.

    private void openBlocks() throws Exception {
        Class<?> iterator = Class.forName(NETWORK + "shuffle.ExternalBlockHandler$ManagedBufferIterator");
        Table table = new Table(
            "the error that an OpenBlocks of these names meets, if any", iterator.getName());
        Constructor<?> make = iterator.getDeclaredConstructors()[0];
        make.setAccessible(true);
        String[][] inputs = {
            {}, {""}, {"_"}, {"broadcast_0"}, {"shuffle_0_3"}, {"shuffle_0_3_0"}, {"shuffle_0_3_0_"},
            {"shuffle_0_3_0_4"}, {"shuffle__3_0"}, {"shuffle_x_3_0"}, {"shuffle_0_x_0"}, {"shuffle_0_3_x"},
            {"shuffle_+0_-3_+0"}, {"shuffle_+_3_0"}, {"shuffle_0_3000000000_0"}, {"shuffle_0_3_0", "rdd_1_1"},
            {"shuffle_0_3_0", "shuffle_1_3_0"}, {"shuffle_0_3_0", "shuffle_0_3_1_2"},
            {"shuffle_0_3_0", "shuffle_x_3_0"}, {"shuffle_0_3_0", ""}, {"rdd_7_12"}, {"rdd_7"}, {"rdd_x_1"},
            {"rdd_7_12_"}, {"rdd_1_1", "shuffle_0_3_0"}, {"rdd_1_1", "rdd_1_y"}, {"shuffleChunk_5_2_9_0"},
            {"shuffleChunk_5_2_9"}, {"shuffleChunk_5_x_9_0"}, {"shuffleChunk_5_2_9_z"},
            {"shuffleChunk_5_2_9_0", "shuffleChunk_5_3_9_0"}, {"shuffleChunk_5_2_9_0", "shuffleChunk_6_2_9_0"},
            {"shuffleChunk_5_2_9_0", "shuffle_0_3_0"}, {"shuffleChunk_5_2_9_0", "shuffleChunk_6_x_9_0"},
            {"shuffleMerged_5_2_9"}, {"shuffle_0_3_0.data"}, {"__shuffle_0_3_0"},
        };
        for (String[] names : inputs) {
            Row row = table.row(String.join(",", names), iterator).put("count", String.valueOf(names.length));
            Object[] args = new Object[make.getParameterCount()];
            args[args.length - 1] = new OpenBlocks("app-1", "2", names);
            try {
                make.newInstance(args);
            } catch (InvocationTargetException refused) {
                row.put("error", refused.getCause().toString());
            }
        }
        write("open_blocks", table);
    }

    private void streamNames() throws Exception {
        Table table = new Table(
            "what parseStreamChunkId makes of these names", OneForOneStreamManager.class.getName());
        for (String name : List.of("1_2", "6345036243736943969_2", "-1_-2", "+1_+2", "1_2_3", "1_2_", "abc", "",
                "_", "5", "5_", "_5", "5__6", "1_2147483648", "9223372036854775808_0", "1_x", " 1_2")) {
            Row row = table.row(name, OneForOneStreamManager.class);
            try {
                // The class of the pair differs between releases; its two numbers do not.
                String pair = OneForOneStreamManager.parseStreamChunkId(name).toString();
                row.put("result", pair.replaceAll("[^0-9,-]", ""));
            } catch (RuntimeException refused) {
                row.put("error", refused.toString());
            }
        }
        write("stream_names", table);
    }

    // Output.

    private static NioManagedBuffer body(String text) {
        return new NioManagedBuffer(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
    }

    private static byte[] read(ByteBuf buf) {
        byte[] bytes = new byte[buf.readableBytes()];
        buf.readBytes(bytes);
        return bytes;
    }

    private static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }

    private void write(String file, Table table) throws IOException {
        StringBuilder json = new StringBuilder();
        json.append("{\n  \"spark\": ").append(quote(spark));
        json.append(",\n  \"class\": ").append(quote(table.source));
        json.append(",\n  \"about\": ").append(quote(table.about));
        json.append(",\n  \"vectors\": [");
        String separator = "\n";
        for (Row row : table.rows) {
            json.append(separator).append("    {");
            String comma = "";
            for (Map.Entry<String, String> entry : row.values.entrySet()) {
                json.append(comma).append(quote(entry.getKey())).append(": ").append(quote(entry.getValue()));
                comma = ", ";
            }
            json.append("}");
            separator = ",\n";
        }
        json.append("\n  ]\n}\n");
        Files.writeString(out.resolve(file + ".json"), json.toString());
    }

    private static String quote(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < 0x20 || c > 0x7e) {
                quoted.append(String.format("\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }

    private static final class Table {
        final String about;
        final String source;
        final List<Row> rows = new ArrayList<>();

        Table(String about, String source) {
            this.about = about;
            this.source = source;
        }

        Row row(String name, Class<?> source) {
            Row row = new Row();
            rows.add(row);
            return row.put("name", name).put("class", source.getSimpleName());
        }
    }

    private static final class Row {
        final Map<String, String> values = new LinkedHashMap<>();

        Row put(String key, String value) {
            values.put(key, value);
            return this;
        }
    }
}
