//! Frames and bodies written by hand, for peers that skip the handshake.
//!
//! Frames are those of Spark's `MessageEncoder` (4.3.0): i64 length of everything, u8 type, fields; big-endian.

/// A frame of any type.
pub fn frame(kind: u8, fields: &[u8]) -> Vec<u8> {
    let length = 9 + fields.len() as u64;
    [&length.to_be_bytes()[..], &[kind], fields].concat()
}

/// An RpcRequest.
pub fn rpc_request(id: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("test bodies are small");
    frame(3, &[&id.to_be_bytes()[..], &length.to_be_bytes(), body].concat())
}

/// A ChunkFetchRequest.
pub fn chunk_request(stream: u64, index: u32) -> Vec<u8> {
    frame(0, &[&stream.to_be_bytes()[..], &index.to_be_bytes()].concat())
}

/// A StreamRequest.
pub fn stream_request(name: &str) -> Vec<u8> {
    frame(6, &string(name))
}

/// A OneWayMessage.
pub fn one_way(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("test bodies are small");
    frame(9, &[&length.to_be_bytes()[..], body].concat())
}

/// An UploadStream with its data after the frame.
pub fn upload_stream(id: u64, meta: &[u8], data: &[u8]) -> Vec<u8> {
    let meta_length = u32::try_from(meta.len()).expect("test bodies are small");
    let fields =
        [&id.to_be_bytes()[..], &meta_length.to_be_bytes(), meta, &(data.len() as u64).to_be_bytes()]
            .concat();
    [frame(10, &fields), data.to_vec()].concat()
}

/// A MergedBlockMetaRequest for shuffle 0, merge 0, reduce 0.
pub fn merged_meta_request(id: u64, app: &str) -> Vec<u8> {
    frame(11, &[&id.to_be_bytes()[..], &string(app), &[0; 12]].concat())
}

/// The body of FetchShuffleBlocks for one block.
pub fn fetch_shuffle_block(app: &str, exec: &str, shuffle: u32, map: u64, reduce: u32) -> Vec<u8> {
    let one = 1u32.to_be_bytes();
    [
        &[9][..],
        &string(app),
        &string(exec),
        &shuffle.to_be_bytes(),
        &one,
        &map.to_be_bytes(),
        &one,
        &one,
        &reduce.to_be_bytes(),
        &[0],
    ]
    .concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("test strings are short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}
