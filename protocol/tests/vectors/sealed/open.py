"""Opens the known answers of the sealed file format from its description, apart from the code that made them.

Prints "opened N partitions", or fails.
"""

import json
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KINDS = {"data": 1, "index": 2, "meta": 3}
NO_RECORD = 0xFFFF_FFFF_FFFF_FFFF


def read_header(file, kind, partition):
    magic, version, found, cipher, length = struct.unpack_from(">8sHBBI", file)
    assert (magic, found, cipher) == (b"\x89SSF\r\n\x1a\n", KINDS[kind], 1)
    assert version in (1, 2)
    salt, shuffle, merge, reduce = struct.unpack_from(">32siii", file, 16)
    at = 60
    attempt = None
    if version == 2:
        (attempt,) = struct.unpack_from(">i", file, at)
        at += 4

    def field():
        nonlocal at
        (n,) = struct.unpack_from(">H", file, at)
        at += 2 + n
        return file[at - n : at]

    fields = [field() for _ in range(4)]
    has_node = file[at]
    at += 1
    node = field().decode() if has_node else None
    assert at == length
    key_id, wrapped, cluster, app = fields
    assert [shuffle, merge, reduce] == partition["partition"]
    assert key_id.decode() == partition["key_id"] and wrapped.hex() == partition["wrapped"]
    assert cluster.decode() == partition["cluster"] and app.decode() == partition["app"]
    assert node == partition["node"] and attempt == partition.get("attempt")
    return file[:length], salt


def file_key(data_key, salt, header):
    info = b"sealed-shuffle sealed file 1" + header
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(data_key))


def open_segment(key, file, at, place):
    """Plaintext, counter, and where the next segment begins."""
    n, counter = struct.unpack_from(">IQ", file, at)
    end = at + 12 + n + 16
    assert end <= len(file)
    nonce = bytes(4) + struct.pack(">Q", counter)
    return key.decrypt(nonce, file[at + 12 : end], struct.pack(">QI", place, n)), counter, end


def open_partition(partition):
    data_key = bytes.fromhex(partition["data_key"])
    files = {kind: bytes.fromhex(partition[kind]) for kind in KINDS}
    headers = {kind: read_header(files[kind], kind, partition) for kind in KINDS}
    assert len({salt for _, salt in headers.values()}) == 1
    keys = {kind: file_key(data_key, salt, header) for kind, (header, salt) in headers.items()}

    index, at = files["index"], len(headers["index"][0])
    plain_at, data_at, meta_at = 0, len(headers["data"][0]), len(headers["meta"][0])
    chunks, bitmaps, previous = [], [], NO_RECORD
    while True:
        record, counter, at = open_segment(keys["index"], index, at, len(chunks))
        kind, before = struct.unpack_from(">BQ", record)
        assert before == previous
        previous = counter
        if kind == 2:
            break
        plain_end, data_end, segments, first, meta_end, meta_counter, count = struct.unpack_from(">QQIQQQI", record, 9)
        gaps = dict(struct.iter_unpack(">IQ", record[57:]))
        assert kind == 1 and len(gaps) == count
        chunk, expected = b"", first
        for segment in range(segments):
            expected += gaps.get(segment, 0)
            piece, counter, data_at = open_segment(keys["data"], files["data"], data_at, plain_at)
            assert counter == expected
            chunk, plain_at, expected = chunk + piece, plain_at + len(piece), expected + 1
        bitmap, counter, meta_at = open_segment(keys["meta"], files["meta"], meta_at, len(chunks))
        assert counter == meta_counter
        assert (plain_at, data_at, meta_at) == (plain_end, data_end, meta_end)
        chunks.append(chunk.hex())
        bitmaps.append(bitmap.hex())
    committed = struct.unpack(">BQIQQQQ", record)[2:]
    lengths = [len(files[kind]) for kind in ("data", "index", "meta")]
    assert committed == (len(chunks), plain_at, *lengths)
    assert [data_at, at, meta_at] == lengths
    assert chunks == partition["chunks"] and bitmaps == partition["bitmaps"]


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as text:
        partitions = json.load(text)["partitions"]
    for partition in partitions:
        open_partition(partition)
    print(f"opened {len(partitions)} partitions")
